import { existsSync, readdirSync, renameSync, rmSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import {
  allocatedBytes,
  CLAIMED_SUFFIX,
  directoryBytes,
  fileSizesOf,
  HANDED_SUFFIX,
  isMissing,
  LEFTOVER_SUFFIXES,
  MANIFEST_SUFFIX,
  parseSegmentName,
  type SegmentFile,
  segmentsOf,
  TOMBSTONE_SUFFIX,
} from './directory.ts';
import { type ExpiredSums, parseManifest, readManifest, readManifestText } from './sealing.ts';
import { openForReading } from './sqlite.ts';

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
 * Everything counts, in what it takes on the disk: open segments with their logs, manifests, key, lock, accounts,
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

const HOUR_US = 3_600_000_000;
/** How often the directory is looked through. */
const CHECK_NS = 180e9;
/** A wall clock may be set right by so much while a recorder lives; a greater leap is no reason to delete. */
const LEAP_US = HOUR_US;

/**
 * Takes sealed segments away whose last arrival is older than what is to be kept.
 *
 * A clock that leaps a year ahead must not empty a capture: since the recorder's start no more time has passed
 * than its monotonic clock says, give or take an hour.
 */
export class Retention {
  readonly #directory: string;
  readonly #retainUs: number;
  readonly #expiry: SegmentExpiry;
  readonly #clock: Clock;
  readonly #startUs: number;
  readonly #startNs: number;
  #checkedNs = Number.NEGATIVE_INFINITY;
  /** Last arrivals of sealed segments; a manifest is read once. */
  #lastArrivals = new Map<string, number>();

  constructor(directory: string, retainMs: number, expiry: SegmentExpiry, clock: Clock) {
    this.#directory = directory;
    this.#retainUs = retainMs * 1000;
    this.#expiry = expiry;
    this.#clock = clock;
    this.#startUs = clock.epochUs();
    this.#startNs = clock.nowNs();
  }

  /** Whether it is time to look again. */
  get due(): boolean {
    return this.#clock.nowNs() - this.#checkedNs >= CHECK_NS;
  }

  /** Expires what is too old, oldest first; `expired` is told of each. Throws what the file system throws. */
  enforce(expired: (expiry: Expiry) => void): void {
    this.#checkedNs = this.#clock.nowNs();
    const elapsedUs = (this.#checkedNs - this.#startNs) / 1000;
    const cutoffUs = Math.min(this.#clock.epochUs(), this.#startUs + elapsedUs + LEAP_US) - this.#retainUs;
    const known = new Map<string, number>();
    for (const segment of segmentsOf(this.#directory)) {
      if (!segment.sealed) continue;
      const lastUs = this.#lastArrivals.get(segment.file) ?? lastArrivalOf(segment);
      if (lastUs === null) continue;
      const expiry = lastUs < cutoffUs ? this.#expiry.expire(segment, 'retain') : null;
      if (expiry !== null) expired(expiry);
      else known.set(segment.file, lastUs);
    }
    this.#lastArrivals = known;
  }
}

/** Null when the manifest cannot be read: how old it is cannot be said, and the quota will take it one day. */
function lastArrivalOf(segment: SegmentFile): number | null {
  try {
    // One without exchanges is as old as its hour.
    return readManifest(segment.path).lastArrivalUs ?? (segment.hour + 1) * HOUR_US;
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

/** A segment that retention took away. Times are epoch microseconds, bytes those of its file. */
export interface Expiry {
  readonly file: string;
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  readonly exchanges: number;
  readonly bytes: number;
  readonly expiredUs: number;
  readonly why: 'quota' | 'retain';
  /** Expiries that were recorded in the segment itself, and those before them: they would be forgotten with it. */
  readonly earlier: ExpiredSums;
}

/**
 * Takes sealed segments away, in three steps, so that a crash between any two is noticed: the manifest is
 * renamed to a tombstone, the segment is unlinked, and the tombstone goes when the commit that records the
 * expiry has returned.
 */
export class SegmentExpiry {
  readonly #directory: string;
  readonly #clock: Clock;
  #tombstones: string[] = [];

  constructor(directory: string, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
  }

  /**
   * Null when somebody else was quicker: a `forget` that is just putting the segment written anew in its place
   * holds the manifest. That is no fault of the disk, and the segment is found again once it is sealed.
   * Throws what the file system throws.
   */
  expire(segment: SegmentFile, why: Expiry['why']): Expiry | null {
    const bytes = statSync(segment.path, { throwIfNoEntry: false })?.size ?? 0;
    const tombstone = `${segment.path}${TOMBSTONE_SUFFIX}`;
    if (!renamed(`${segment.path}${MANIFEST_SUFFIX}`, tombstone)) return null;
    unlinkSegment(segment.path);
    this.#tombstones.push(tombstone);
    return this.#expiryOf(segment.file, tombstone, bytes, why);
  }

  /** Expiries of a life that ended before it could commit them. What asked for them is not known any more. */
  unrecorded(): Expiry[] {
    const found: Expiry[] = [];
    const files = tombstonedIn(this.#directory);
    const recorded = recordedOf(this.#directory, files);
    for (const file of files) {
      const path = join(this.#directory, file);
      unlinkSegment(path);
      this.#tombstones.push(`${path}${TOMBSTONE_SUFFIX}`);
      // One that died after its commit has only the tombstone left to remove; told again it would be summed twice.
      if (!recorded.has(file)) {
        found.push(this.#expiryOf(file, `${path}${TOMBSTONE_SUFFIX}`, 0, 'quota'));
      }
    }
    return found;
  }

  /** The expiries told so far are committed. */
  recorded(): void {
    for (const path of this.#tombstones.splice(0)) rmSync(path, { force: true, recursive: true });
  }

  #expiryOf(file: string, tombstone: string, bytes: number, why: Expiry['why']): Expiry {
    const expiredUs = this.#clock.epochUs();
    try {
      const manifest = parseManifest(readManifestText(tombstone), tombstone);
      const { firstArrivalUs, lastArrivalUs, exchanges, fileBytes, expired: earlier } = manifest;
      return { file, firstArrivalUs, lastArrivalUs, exchanges, bytes: fileBytes, expiredUs, why, earlier };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      // A manifest that cannot be read must not keep its segment for ever; what it held is not known any more.
      return {
        file,
        firstArrivalUs: null,
        lastArrivalUs: null,
        exchanges: 0,
        bytes,
        expiredUs,
        why,
        earlier: { segments: 0, exchanges: 0, bytes: 0 },
      };
    }
  }
}

/** Segments whose expiry began and is not recorded yet, there still or not. */
function tombstonedIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith(TOMBSTONE_SUFFIX))
    .map((file) => file.slice(0, -TOMBSTONE_SUFFIX.length));
}

/** Those of them that are there still: a recorder died before it could unlink them, or is just about to. */
export function expiringSegments(directory: string): string[] {
  return tombstonedIn(directory).filter((file) => existsSync(join(directory, file)));
}

/** Those of some files whose expiry is recorded, mostly in one of the latest segments. */
function recordedOf(directory: string, files: readonly string[]): ReadonlySet<string> {
  const recorded = new Set<string>();
  for (const { path } of segmentsOf(directory).reverse()) {
    if (recorded.size === files.length) break;
    for (const file of expiriesIn(path)) if (files.includes(file)) recorded.add(file);
  }
  return recorded;
}

/** Files whose expiry a segment records; of one that cannot be read, none. */
function expiriesIn(path: string): readonly string[] {
  try {
    const connection = openForReading(path);
    try {
      return connection.prepare<[], string>('SELECT file FROM expiry').pluck().all();
    } finally {
      connection.close();
    }
  } catch {
    return [];
  }
}

/** Takes away what an expiry left, for whoever holds the recorder's lock; the next recorder records the expiry. */
export function finishExpiries(directory: string): void {
  for (const file of tombstonedIn(directory)) unlinkSegment(join(directory, file));
}

/**
 * A segment that has its tombstone. A copy that a `forget` was just writing, or left half written, goes with it, and
 * a manifest that it was given since: alone, that would be a segment that was lost.
 */
function unlinkSegment(path: string): void {
  rmSync(`${path}${MANIFEST_SUFFIX}`, { force: true, recursive: true });
  for (const suffix of ['', HANDED_SUFFIX, ...LEFTOVER_SUFFIXES]) rmSync(`${path}${suffix}`, { force: true });
}

/** False when there is nothing of the name `from`. */
function renamed(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
