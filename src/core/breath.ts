import type { Clock } from './clock.ts';

/** So long a stretch of work may be, ns: what others that became ready meanwhile have waited. A rest costs 20 µs. */
const STRETCH_NS = 500_000;
/** What is asked for; the kernel's slack makes some 70 µs of it. */
const PAUSE_MS = 0.02;
/** How often it is looked whether there is time to rest, ns. */
const JUDGE_NS = 20_000_000;
/** Who was busy for a greater share of that does not rest. */
const BUSY_SHARE = 0.5;

/**
 * Lets others have the processor between two pieces of a long work. A low priority alone does not: the scheduler
 * lets whoever is running finish its slice of some milliseconds, and what became ready meanwhile waits for that.
 * Blocks the thread; the work goes on where it was. Nobody rests while there is much to do: what is not recorded
 * in time is lost.
 */
export class Breath {
  readonly #clock: Clock;
  readonly #loopIdleNs: () => number;
  readonly #cell = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  #sinceNs: number;
  #judgedNs: number;
  #judgedIdleNs: number;
  #hurried = false;

  /** @param loopIdleNs how long the event loop has slept so far */
  constructor(clock: Clock, loopIdleNs: () => number) {
    this.#clock = clock;
    this.#loopIdleNs = loopIdleNs;
    this.#sinceNs = clock.nowNs();
    this.#judgedNs = this.#sinceNs;
    this.#judgedIdleNs = loopIdleNs();
  }

  /** To be called between pieces of work, each a good deal shorter than a stretch. Pauses where one is over. */
  take(): void {
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#sinceNs < STRETCH_NS) return;
    if (nowNs - this.#judgedNs >= JUDGE_NS) this.#judge(nowNs);
    if (!this.#hurried) Atomics.wait(this.#cell, 0, 0, PAUSE_MS);
    this.#sinceNs = this.#clock.nowNs();
  }

  #judge(nowNs: number): void {
    const idleNs = this.#loopIdleNs();
    const busyNs = nowNs - this.#judgedNs - (idleNs - this.#judgedIdleNs);
    this.#hurried = busyNs > BUSY_SHARE * (nowNs - this.#judgedNs);
    this.#judgedNs = nowNs;
    this.#judgedIdleNs = idleNs;
  }
}
