import { existsSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { HOUR_US } from '../../core/units.ts';
import {
  allocatedBytes,
  CLAIMED_SUFFIX,
  directoryBytes,
  fileSizesOf,
  HANDED_SUFFIX,
  LEFTOVER_SUFFIXES,
  MANIFEST_SUFFIX,
  parseSegmentName,
  renamed,
  type SegmentFile,
  segmentsOf,
  sizeOf,
  TOMBSTONE_SUFFIX,
} from './directory.ts';
import { type ExpiredSums, parseManifest, readManifest, readManifestText } from './sealing.ts';
import { withSegment } from './segment-reader.ts';

/** Extra files of one sealing: old and new manifest, SQLite's log index, a journal header. */
const SEALING_BYTES = 96 * 1024;

/** The open segment, from its writer. */
export interface OpenSegment {
  /** Null if none is open. */
  readonly file: string | null;
  /** Database and log. */
  readonly bytes: number;
}

/** Why a batch may not be written; null if it may. */
export type Refusal = 'quota' | 'disk_reserve' | null;

/**
 * Keeps a capture's directory within its byte limit and the file system from running full.
 *
 * Every file counts by its disk space: open segments with their logs, manifests, key, lock, accounts and
 * foreign files. The directory itself counts too. The space that sealing may still need also counts, so
 * sealing never exceeds the limit. The rewriting of `forget` does not count. It needs the space of one more
 * segment briefly, and no segment should expire for that.
 */
export class DiskQuota {
  readonly #directory: string;
  readonly #maxBytes: number;
  readonly #expiry: SegmentExpiry;
  readonly #clock: Clock;
  /** Bytes besides the open segment at the last count, including what sealing may add. */
  #otherBytes = 0;
  #countedNs = Number.NEGATIVE_INFINITY;

  constructor(directory: string, maxBytes: number, expiry: SegmentExpiry, clock: Clock) {
    this.#directory = directory;
    this.#maxBytes = maxBytes;
    this.#expiry = expiry;
    this.#clock = clock;
  }

  /** Whether `neededBytes` more fit, given the current size of the open segment. */
  fits(open: OpenSegment, neededBytes: number): boolean {
    this.#count(open, neededBytes);
    return this.#roomBytes(open, neededBytes) >= 0;
  }

  /** The same, but expires the oldest sealed segments if needed. */
  makeRoom(open: OpenSegment, neededBytes: number): boolean {
    while (!this.fits(open, neededBytes)) {
      const oldest = segmentsOf(this.#directory).find((segment) => segment.sealed);
      if (oldest === undefined) return false;
      this.#expiry.expire(oldest, 'quota');
      this.#recount(open);
    }
    return true;
  }

  /**
   * Whether this write would leave less free space than the reserve for sealing, recovery and other programs. Other
   * programs may have filled the disk, even if the quota has room.
   */
  leavesReserve(neededBytes: number): boolean {
    const { bavail, blocks, bsize } = statfsSync(this.#directory);
    const reserveBytes = Math.min(LIMITS.diskReserveBytes, (blocks * bsize) / 100);
    return bavail * bsize - neededBytes >= reserveBytes;
  }

  /** Call when a segment has ended: its size is known only from the directory. */
  forgetCount(): void {
    this.#countedNs = Number.NEGATIVE_INFINITY;
  }

  #roomBytes(open: OpenSegment, neededBytes: number): number {
    const grown = open.bytes + neededBytes;
    // Its sealed size is unknown. The worst case is just small enough to be copied.
    const copy = Math.min(grown, LIMITS.compactedSegmentBytes);
    return this.#maxBytes - this.#otherBytes - grown - sealingBytes(copy, 0);
  }

  /** With plenty of space left, the directory is not counted again for every commit. */
  #count(open: OpenSegment, neededBytes: number): void {
    const age = this.#clock.nowNs() - this.#countedNs;
    if (age > 5e9 || this.#roomBytes(open, neededBytes) < this.#maxBytes / 8) this.#recount(open);
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
    this.#countedNs = this.#clock.nowNs();
  }
}

/** Temporary space for sealing a segment: its log moved into it, and a copy of a small one. */
function sealingBytes(size: number, walBytes: number): number {
  const whole = size + walBytes;
  const copy = whole <= LIMITS.compactedSegmentBytes ? whole : 0;
  return allocatedBytes(walBytes) + allocatedBytes(copy) + SEALING_BYTES;
}

/** How often the directory is checked. */
const CHECK_NS = 180e9;
/** Largest correction of the wall clock during a recorder's life. A greater jump must not delete data. */
const LEAP_US = HOUR_US;

/**
 * Expires sealed segments whose last arrival is older than the retention time.
 *
 * A clock that jumps a year ahead must not empty a capture. So the time since the recorder's start is bounded
 * by its monotonic clock, plus or minus an hour.
 */
export class Retention {
  readonly #directory: string;
  readonly #retainUs: number;
  readonly #expiry: SegmentExpiry;
  readonly #clock: Clock;
  readonly #startUs: number;
  readonly #startNs: number;
  #checkedNs = Number.NEGATIVE_INFINITY;

  constructor(directory: string, retainMs: number, expiry: SegmentExpiry, clock: Clock) {
    this.#directory = directory;
    this.#retainUs = retainMs * 1000;
    this.#expiry = expiry;
    this.#clock = clock;
    this.#startUs = clock.epochUs();
    this.#startNs = clock.nowNs();
  }

  /** Expires segments that are too old, oldest first, every few minutes. Throws file system errors. */
  enforce(): void {
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#checkedNs < CHECK_NS) return;
    this.#checkedNs = nowNs;
    const elapsedUs = (this.#checkedNs - this.#startNs) / 1000;
    const cutoffUs = Math.min(this.#clock.epochUs(), this.#startUs + elapsedUs + LEAP_US) - this.#retainUs;
    for (const segment of segmentsOf(this.#directory)) {
      const lastUs = segment.sealed ? lastArrivalOf(segment) : null;
      if (lastUs !== null && lastUs < cutoffUs) this.#expiry.expire(segment, 'retain');
    }
  }
}

/** Null if the manifest is unreadable: its age is unknown, and the quota will remove it eventually. */
function lastArrivalOf(segment: SegmentFile): number | null {
  try {
    // A segment without exchanges is as old as its hour.
    return readManifest(segment.path).lastArrivalUs ?? (segment.hour + 1) * HOUR_US;
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

/** A segment that retention removed. Times are epoch microseconds; bytes are those of its file. */
export interface Expiry {
  readonly file: string;
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  readonly exchanges: number;
  readonly bytes: number;
  readonly expiredUs: number;
  readonly why: 'quota' | 'retain';
  /** Expiries recorded in the segment itself and the earlier ones it includes. They would be lost with it. */
  readonly earlier: ExpiredSums;
}

/**
 * Expires sealed segments in three steps, so that a crash between any two is detected. First the manifest is
 * renamed to a tombstone. Then the segment is unlinked. The tombstone is removed after the commit that
 * records the expiry.
 */
export class SegmentExpiry {
  readonly #directory: string;
  readonly #clock: Clock;
  /** Expiries for the next commit to record. */
  readonly pending: Expiry[] = [];
  #tombstones: string[] = [];

  /** Also finds the expiries of a life that ended before it could commit them. Their cause is not known. */
  constructor(directory: string, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
    const files = tombstonedIn(directory);
    const recorded = recordedOf(directory, files);
    for (const file of files) {
      const path = join(directory, file);
      unlinkSegment(path);
      // If the commit succeeded, only the tombstone is left to remove. Reporting it again would count it
      // twice.
      if (recorded.has(file)) this.#tombstones.push(`${path}${TOMBSTONE_SUFFIX}`);
      else this.#note(file, 0, 'quota');
    }
  }

  /**
   * Expires a segment. Returns false if a `forget` holds the manifest because it replaces the segment now.
   * That is no disk error: the segment is found again once it is sealed. Throws file system errors.
   */
  expire(segment: SegmentFile, why: Expiry['why']): boolean {
    const bytes = sizeOf(segment.path);
    if (!renamed(`${segment.path}${MANIFEST_SUFFIX}`, `${segment.path}${TOMBSTONE_SUFFIX}`)) return false;
    unlinkSegment(segment.path);
    this.#note(segment.file, bytes, why);
    return true;
  }

  /** Call when the pending expiries are committed. */
  recorded(): void {
    this.pending.length = 0;
    for (const path of this.#tombstones.splice(0)) rmSync(path, { force: true, recursive: true });
  }

  #note(file: string, bytes: number, why: Expiry['why']): void {
    const tombstone = `${join(this.#directory, file)}${TOMBSTONE_SUFFIX}`;
    this.#tombstones.push(tombstone);
    this.pending.push({ file, expiredUs: this.#clock.epochUs(), why, ...contentOf(tombstone, bytes) });
  }
}

/**
 * The facts in a segment's tombstone. An unreadable tombstone must not keep its segment for ever; then the facts are
 * unknown.
 */
function contentOf(tombstone: string, bytes: number): Omit<Expiry, 'file' | 'expiredUs' | 'why'> {
  try {
    const manifest = parseManifest(readManifestText(tombstone), tombstone);
    const { firstArrivalUs, lastArrivalUs, exchanges, fileBytes, expired } = manifest;
    return { firstArrivalUs, lastArrivalUs, exchanges, bytes: fileBytes, earlier: expired };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const earlier = { segments: 0, exchanges: 0, bytes: 0 };
    return { firstArrivalUs: null, lastArrivalUs: null, exchanges: 0, bytes, earlier };
  }
}

/** Segments whose expiry began but is not recorded, whether or not the file still exists. */
function tombstonedIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith(TOMBSTONE_SUFFIX))
    .map((file) => file.slice(0, -TOMBSTONE_SUFFIX.length));
}

/** Those whose file still exists: a recorder died before it unlinked them, or is about to. */
export function expiringSegments(directory: string): string[] {
  return tombstonedIn(directory).filter((file) => existsSync(join(directory, file)));
}

/** Those of the files whose expiry is recorded, usually in one of the latest segments. */
function recordedOf(directory: string, files: readonly string[]): ReadonlySet<string> {
  const recorded = new Set<string>();
  for (const segment of segmentsOf(directory).reverse()) {
    if (recorded.size === files.length) break;
    for (const file of expiriesIn(segment)) if (files.includes(file)) recorded.add(file);
  }
  return recorded;
}

/** Files whose expiry a segment records; none if it is unreadable. */
function expiriesIn(segment: SegmentFile): readonly string[] {
  try {
    const rows = withSegment(segment, (reader) => reader.all<{ file: string }>('SELECT file FROM expiry'));
    return (rows ?? []).map(({ file }) => file);
  } catch {
    return [];
  }
}

/** Finishes expiries; the caller holds the recorder's lock. The next recorder records them. */
export function finishExpiries(directory: string): void {
  for (const file of tombstonedIn(directory)) unlinkSegment(join(directory, file));
}

/**
 * Unlinks a segment that has a tombstone. Also removes a copy that `forget` was writing, and a newer
 * manifest. A manifest alone would look like a lost segment.
 */
function unlinkSegment(path: string): void {
  rmSync(`${path}${MANIFEST_SUFFIX}`, { force: true, recursive: true });
  for (const suffix of ['', HANDED_SUFFIX, ...LEFTOVER_SUFFIXES]) rmSync(`${path}${suffix}`, { force: true });
}
