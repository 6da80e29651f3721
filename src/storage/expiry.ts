import { readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import type { SegmentFile } from './capture-directory.ts';
import { isMissing } from './durable-files.ts';
import { parseManifest } from './manifest.ts';
import { HANDED_SUFFIX, MANIFEST_SUFFIX, TOMBSTONE_SUFFIX } from './segment-name.ts';
import type { Expiry } from './side-records.ts';

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
    this.#unlink(segment.path);
    this.#tombstones.push(tombstone);
    return this.#expiryOf(segment.file, tombstone, bytes, why);
  }

  /** Expiries of a life that ended before it could commit them. What asked for them is not known any more. */
  unrecorded(): Expiry[] {
    const found: Expiry[] = [];
    for (const file of readdirSync(this.#directory)) {
      if (!file.endsWith(TOMBSTONE_SUFFIX)) continue;
      const path = join(this.#directory, file);
      this.#unlink(path.slice(0, -TOMBSTONE_SUFFIX.length));
      found.push(this.#expiryOf(file.slice(0, -TOMBSTONE_SUFFIX.length), path, 0, 'quota'));
      this.#tombstones.push(path);
    }
    return found;
  }

  /** The expiries told so far are committed. */
  recorded(): void {
    for (const path of this.#tombstones.splice(0)) rmSync(path, { force: true });
  }

  #unlink(path: string): void {
    rmSync(path, { force: true });
    rmSync(`${path}${HANDED_SUFFIX}`, { force: true });
  }

  #expiryOf(file: string, tombstone: string, bytes: number, why: Expiry['why']): Expiry {
    const expiredUs = this.#clock.epochUs();
    try {
      const manifest = parseManifest(readFileSync(tombstone, 'utf8'), tombstone);
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
