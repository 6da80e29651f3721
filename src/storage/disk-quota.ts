import { readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { segmentsOf } from './capture-directory.ts';
import { parseManifest } from './manifest.ts';
import { MANIFEST_SUFFIX, TOMBSTONE_SUFFIX } from './segment-name.ts';
import type { Expiry } from './side-records.ts';

/**
 * Keeps a capture's directory within its bytes. Everything in it counts: open segments with their logs,
 * manifests, key, lock, and what others put there.
 *
 * Expiry in three steps, so that a crash between any two is noticed: the manifest is renamed to a tombstone,
 * the segment is unlinked, and the tombstone goes when the commit that records the expiry has returned.
 */
export class DiskQuota {
  readonly #directory: string;
  readonly #maxBytes: number;
  readonly #clock: Clock;
  #tombstones: string[] = [];
  /** Size of what the writer's open segment does not account for, as last counted. */
  #otherBytes = 0;
  #countedNs = Number.NEGATIVE_INFINITY;

  constructor(directory: string, maxBytes: number, clock: Clock) {
    this.#directory = directory;
    this.#maxBytes = maxBytes;
    this.#clock = clock;
  }

  /** Whether `neededBytes` more fit, given what the open segment takes by now. */
  fits(openSegmentBytes: number, neededBytes: number): boolean {
    this.#count(openSegmentBytes, neededBytes);
    return this.#otherBytes + openSegmentBytes + neededBytes <= this.#maxBytes;
  }

  /** The same, but expires the oldest sealed segments when they do not fit; `expired` is told of each. */
  makeRoom(openSegmentBytes: number, neededBytes: number, expired: (expiry: Expiry) => void): boolean {
    while (!this.fits(openSegmentBytes, neededBytes)) {
      const expiry = this.#expireOldest();
      if (expiry === null) return false;
      expired(expiry);
      this.#recount(openSegmentBytes);
    }
    return true;
  }

  /** Expiries of a life that ended before it could commit them. */
  unrecorded(): Expiry[] {
    const found: Expiry[] = [];
    for (const file of readdirSync(this.#directory)) {
      if (!file.endsWith(TOMBSTONE_SUFFIX)) continue;
      const path = join(this.#directory, file);
      rmSync(path.slice(0, -TOMBSTONE_SUFFIX.length), { force: true });
      found.push(this.#expiryOf(file.slice(0, -TOMBSTONE_SUFFIX.length), path, 0));
      this.#tombstones.push(path);
    }
    return found;
  }

  /** The expiries told so far are committed. */
  recorded(): void {
    for (const path of this.#tombstones.splice(0)) rmSync(path, { force: true });
  }

  /** A directory of hundreds of files is not counted anew for every commit while there is plenty of room. */
  #count(openSegmentBytes: number, neededBytes: number): void {
    const room = this.#maxBytes - this.#otherBytes - openSegmentBytes - neededBytes;
    const age = this.#clock.nowNs() - this.#countedNs;
    if (room < this.#maxBytes / 8 || age > 5e9) this.#recount(openSegmentBytes);
  }

  #recount(openSegmentBytes: number): void {
    let bytes = 0;
    for (const file of readdirSync(this.#directory)) {
      bytes += statSync(join(this.#directory, file), { throwIfNoEntry: false })?.size ?? 0;
    }
    this.#otherBytes = bytes - openSegmentBytes;
    this.#countedNs = this.#clock.nowNs();
  }

  #expireOldest(): Expiry | null {
    const oldest = segmentsOf(this.#directory).find((segment) => segment.sealed);
    if (oldest === undefined) return null;
    const bytes = statSync(oldest.path).size;
    const tombstone = `${oldest.path}${TOMBSTONE_SUFFIX}`;
    renameSync(`${oldest.path}${MANIFEST_SUFFIX}`, tombstone);
    rmSync(oldest.path, { force: true });
    this.#tombstones.push(tombstone);
    return this.#expiryOf(oldest.file, tombstone, bytes);
  }

  #expiryOf(file: string, tombstone: string, bytes: number): Expiry {
    const expiredUs = this.#clock.epochUs();
    try {
      const manifest = parseManifest(readFileSync(tombstone, 'utf8'), tombstone);
      const { firstArrivalUs, lastArrivalUs, exchanges, fileBytes, expired: earlier } = manifest;
      return {
        file,
        firstArrivalUs,
        lastArrivalUs,
        exchanges,
        bytes: fileBytes,
        expiredUs,
        why: 'quota',
        earlier,
      };
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
        why: 'quota',
        earlier: { segments: 0, exchanges: 0, bytes: 0 },
      };
    }
  }
}
