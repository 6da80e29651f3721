import { existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { type SegmentFile, segmentsOf } from './capture-directory.ts';
import { openForReading } from './database.ts';
import { isMissing } from './durable-files.ts';
import { type ExpiredSums, parseManifest, readManifestText } from './manifest.ts';
import { HANDED_SUFFIX, LEFTOVER_SUFFIXES, MANIFEST_SUFFIX, TOMBSTONE_SUFFIX } from './segment-name.ts';

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
