import type { Clock } from '../../core/clock.ts';
import { type DiskEstimate, estimateDisk, isTooLittle } from '../../core/disk-estimate.ts';

/** So much traffic is looked at before anything is said, and so much more where it was too little. */
const FIRST_NS = 60e9;
/** From then on it is looked at again this often, and told when it has changed by so much. */
const AGAIN_NS = 3_600e9;
const CHANGE = 0.2;

/** What a writer has stored so far, as `CaptureWriter.stored` says. */
interface Stored {
  readonly exchanges: number;
  readonly bytes: number;
}

interface Mark extends Stored {
  readonly atNs: number;
}

/**
 * Watches how a capture grows and says how long its disk will last: after the first minute with traffic in it,
 * then each hour if that hour tells another story. Where it was too little to tell from, each minute adds to it.
 */
export class DiskEstimates {
  readonly #clock: Clock;
  readonly #maxDiskBytes: number;
  readonly #retainMs: number | null;
  #before: Mark;
  #since: Mark | null = null;
  #told: DiskEstimate | null = null;
  /** When to look again, after a stretch that was too little; null where there is none. */
  #againNs: number | null = null;

  constructor(clock: Clock, maxDiskBytes: number, retainMs: number | null) {
    this.#clock = clock;
    this.#maxDiskBytes = maxDiskBytes;
    this.#retainMs = retainMs;
    this.#before = { atNs: clock.nowNs(), exchanges: 0, bytes: 0 };
  }

  /** To be called every second or so. An estimate when there is one to be told, else null. */
  observe(stored: Stored): DiskEstimate | null {
    const now = { ...stored, atNs: this.#clock.nowNs() };
    if (this.#since === null) {
      // The minute begins with the first exchange: what came before it was no traffic.
      if (now.exchanges > 0) this.#since = this.#before;
      else this.#before = now;
      return null;
    }
    const elapsedNs = now.atNs - this.#since.atNs;
    if (now.atNs < (this.#againNs ?? this.#since.atNs + (this.#told === null ? FIRST_NS : AGAIN_NS)))
      return null;
    const estimate = estimateDisk({
      seconds: elapsedNs / 1e9,
      exchanges: now.exchanges - this.#since.exchanges,
      storedBytes: Math.max(0, now.bytes - this.#since.bytes),
      maxDiskBytes: this.#maxDiskBytes,
      retainMs: this.#retainMs,
    });
    if (isTooLittle(estimate)) {
      const isNews = this.#againNs === null;
      this.#againNs = now.atNs + FIRST_NS;
      return isNews ? estimate : null;
    }
    this.#againNs = null;
    this.#since = now;
    if (this.#told !== null && !differs(estimate.bytesPerDay, this.#told.bytesPerDay)) return null;
    this.#told = estimate;
    return estimate;
  }
}

function differs(now: number, before: number): boolean {
  return Math.abs(now - before) > CHANGE * before;
}
