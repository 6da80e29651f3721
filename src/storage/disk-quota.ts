import { statfsSync } from 'node:fs';
import type { Clock } from '../core/clock.ts';
import { LIMITS } from '../core/limits.ts';
import { segmentsOf } from './capture-directory.ts';
import { allocatedBytes, directoryBytes, fileSizesOf } from './directory-size.ts';
import type { Expiry, SegmentExpiry } from './expiry.ts';
import {
  CLAIMED_SUFFIX,
  LEFTOVER_SUFFIXES,
  MANIFEST_SUFFIX,
  parseSegmentName,
  TOMBSTONE_SUFFIX,
} from './segment-name.ts';

/** What sealing one segment adds beside it: manifests old and new, SQLite's index of the log, a journal's head. */
const SEALING_BYTES = 96 * 1024;

/** The open segment, as its writer sees it. */
export interface OpenSegment {
  /** Null when none is open. */
  readonly file: string | null;
  /** Database and log. */
  readonly bytes: number;
  /** How many its writer has ended before it: of those the directory alone tells. */
  readonly endedBefore: number;
}

/** Why a batch may not be written; null when it may. */
export type Refusal = 'quota' | 'disk_reserve' | null;

/**
 * Keeps a capture's directory within its bytes, and the file system from running full.
 *
 * Everything counts, in what it takes on the disk: open segments with their logs, manifests, key, lock, ledger,
 * what others put there, the directory itself; and what the sealer may still need for the segments that wait
 * for it, so that sealing never breaks the bound either. What `forget` writes anew is left out: it takes the room of
 * one more segment for a moment, and no other segment is worth less for that.
 */
export class DiskQuota {
  readonly #directory: string;
  readonly #maxBytes: number;
  readonly #expiry: SegmentExpiry;
  readonly #clock: Clock;
  /** What the writer's open segment does not account for, as last counted, with what sealing may add. */
  #otherBytes = 0;
  /** How many segments had ended then. What each of them took has changed sides since it did. */
  #countedEnded = 0;
  #countedNs = Number.NEGATIVE_INFINITY;

  constructor(directory: string, maxBytes: number, expiry: SegmentExpiry, clock: Clock) {
    this.#directory = directory;
    this.#maxBytes = maxBytes;
    this.#expiry = expiry;
    this.#clock = clock;
  }

  /** Whether `neededBytes` more fit, given what the open segment takes by now. */
  fits(open: OpenSegment, neededBytes: number): boolean {
    this.#count(open, neededBytes);
    return this.#roomBytes(open, neededBytes) >= 0;
  }

  /** The same, but expires the oldest sealed segments when they do not fit; `expired` is told of each. */
  makeRoom(open: OpenSegment, neededBytes: number, expired: (expiry: Expiry) => void): boolean {
    while (!this.fits(open, neededBytes)) {
      const oldest = segmentsOf(this.#directory).find((segment) => segment.sealed);
      if (oldest === undefined) return false;
      const expiry = this.#expiry.expire(oldest, 'quota');
      if (expiry !== null) expired(expiry);
      this.#recount(open);
    }
    return true;
  }

  /**
   * Whether writing so much would leave the file system less than its reserve: what sealing, recovery and
   * everybody else on the disk need. Others may have filled it, whatever the quota says.
   */
  leavesReserve(neededBytes: number): boolean {
    const { bavail, blocks, bsize } = statfsSync(this.#directory);
    const reserveBytes = Math.min(LIMITS.diskReserveBytes, (blocks * bsize) / 100);
    return bavail * bsize - neededBytes >= reserveBytes;
  }

  #roomBytes(open: OpenSegment, neededBytes: number): number {
    const grown = open.bytes + neededBytes;
    // How large it will be when it is sealed is not known: at worst just small enough to be copied.
    const copy = Math.min(grown, LIMITS.compactedSegmentBytes);
    return this.#maxBytes - this.#otherBytes - grown - sealingBytes(copy, 0);
  }

  /** A directory of hundreds of files is not counted anew for every commit while there is plenty of room. */
  #count(open: OpenSegment, neededBytes: number): void {
    const age = this.#clock.nowNs() - this.#countedNs;
    const ended = open.endedBefore !== this.#countedEnded;
    if (ended || age > 5e9 || this.#roomBytes(open, neededBytes) < this.#maxBytes / 8) this.#recount(open);
  }

  #recount(open: OpenSegment): void {
    const sizes = fileSizesOf(this.#directory);
    const sealedBy = [MANIFEST_SUFFIX, TOMBSTONE_SUFFIX, CLAIMED_SUFFIX];
    const isSealed = (file: string) => sealedBy.some((suffix) => sizes.has(`${file}${suffix}`));
    const unsealed = [...sizes].filter(([file]) => parseSegmentName(file) !== null && !isSealed(file));
    for (const file of sizes.keys()) {
      if (LEFTOVER_SUFFIXES.some((suffix) => file.endsWith(suffix))) sizes.delete(file);
    }
    let bytes = directoryBytes(this.#directory, sizes) - open.bytes;
    for (const [file, size] of unsealed) {
      if (file !== open.file) bytes += sealingBytes(size, sizes.get(`${file}-wal`) ?? 0);
    }
    this.#otherBytes = bytes;
    this.#countedEnded = open.endedBefore;
    this.#countedNs = this.#clock.nowNs();
  }
}

/** What sealing a segment may add for a moment: its log moved into it, and a copy of a small one. */
function sealingBytes(size: number, walBytes: number): number {
  const whole = size + walBytes;
  const copy = whole <= LIMITS.compactedSegmentBytes ? whole : 0;
  return allocatedBytes(walBytes) + allocatedBytes(copy) + SEALING_BYTES;
}
