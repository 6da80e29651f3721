import type { Clock } from './clock.ts';

/**
 * So long a stretch of work may be, ns: what others that became ready meanwhile have waited. A rest costs 20 µs of
 * processor time, so that long work takes a twelfth more.
 */
const STRETCH_NS = 250_000;
/** What is asked for; the kernel's slack makes some 70 µs of it. */
const PAUSE_MS = 0.02;
/** Who is so far behind with what it was told does not rest for as long again, ns. */
const BEHIND_NS = 25_000_000;

/**
 * Lets others have the processor between two pieces of a long work. A low priority alone does not: the scheduler
 * lets whoever is running finish its slice of some milliseconds, and what became ready meanwhile waits for that.
 * Blocks the thread; the work goes on where it was. Nobody rests who is behind: what is not recorded in time is
 * lost.
 */
export class Breath {
  readonly #clock: Clock;
  readonly #cell = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  #sinceNs: number;
  #hurriedUntilNs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceNs = clock.nowNs();
  }

  /** When that happened of which the work is now, by the same clock. */
  heard(atNs: number): void {
    const nowNs = this.#clock.nowNs();
    if (nowNs - atNs >= BEHIND_NS) this.#hurriedUntilNs = nowNs + BEHIND_NS;
  }

  /** To be called between pieces of work, each a good deal shorter than a stretch. Pauses where one is over. */
  take(): void {
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#sinceNs < STRETCH_NS) return;
    if (nowNs >= this.#hurriedUntilNs) Atomics.wait(this.#cell, 0, 0, PAUSE_MS);
    this.#sinceNs = this.#clock.nowNs();
  }
}
