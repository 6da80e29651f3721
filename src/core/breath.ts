import type { Clock } from './clock.ts';

/** So long a stretch of work may be, ns: what others that became ready meanwhile have waited at most. A rest costs 20 us. */
const STRETCH_NS = 500_000;
/** What is asked for; the kernel's slack makes some 70 µs of it. */
const PAUSE_MS = 0.02;

/**
 * Lets others have the processor between two pieces of a long work. A low priority alone does not: the scheduler
 * lets whoever is running finish its slice of some milliseconds, and what became ready meanwhile waits for that.
 * Blocks the thread; the work goes on where it was.
 */
export class Breath {
  /** Nobody yields while it falls behind: what is not recorded in time is lost. */
  hurried = false;
  readonly #clock: Clock;
  readonly #cell = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  #sinceNs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceNs = clock.nowNs();
  }

  /** To be called between pieces of work, each a good deal shorter than a stretch. Pauses where one is over. */
  take(): void {
    if (this.hurried || this.#clock.nowNs() - this.#sinceNs < STRETCH_NS) return;
    Atomics.wait(this.#cell, 0, 0, PAUSE_MS);
    this.#sinceNs = this.#clock.nowNs();
  }
}
