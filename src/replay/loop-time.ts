import type { Clock } from '../core/clock.ts';

/** A loop that turns looks at its time far more often than this: what is beyond it, it stood still. */
const STEP_MAX_NS = 100_000_000;

/**
 * Time in which an event loop turned, nanoseconds. What a target had no chance to be heard in is no time it took:
 * after a stop of two seconds a request that was sent before has as much left as it had. Whoever owns it looks at
 * it some forty times a second, or it stands.
 */
export class LoopTime implements Pick<Clock, 'nowNs'> {
  readonly #clock: Pick<Clock, 'nowNs'>;
  #lookedNs: number;
  #stoodNs = 0;

  constructor(clock: Pick<Clock, 'nowNs'>) {
    this.#clock = clock;
    this.#lookedNs = clock.nowNs();
  }

  /** Never ahead of the clock, and as fast as it while the loop turns. */
  nowNs(): number {
    const nowNs = this.#clock.nowNs();
    this.#stoodNs += Math.max(0, nowNs - this.#lookedNs - STEP_MAX_NS);
    this.#lookedNs = nowNs;
    return nowNs - this.#stoodNs;
  }
}
