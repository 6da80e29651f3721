import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { type SegmentFile, segmentsOf } from './capture-directory.ts';
import type { Expiry, SegmentExpiry } from './expiry.ts';
import { readManifest } from './manifest.ts';

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
