import type { Clock } from '../../core/clock.ts';

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

/**
 * Runs a callback after so many milliseconds, and never before. A timer of Node counts whole milliseconds from the
 * last one that began, and so comes early by up to one in a loop that is awake: nobody's client left before its time.
 * Returns what takes it back.
 */
export function afterAtLeast(clock: Pick<Clock, 'nowNs'>, callback: () => void, ms: number): () => void {
  const dueNs = clock.nowNs() + ms * 1e6;
  const look = (): void => {
    const leftNs = dueNs - clock.nowNs();
    if (leftNs <= 0) callback();
    else timer = setTimeout(look, Math.ceil(leftNs / 1e6));
  };
  let timer = setTimeout(look, ms);
  return () => clearTimeout(timer);
}

/**
 * As `afterAtLeast`, for giving up on somebody who may have been heard meanwhile: by the time of a loop, and not before
 * it has heard what had come. What came while the loop stood still is read behind its timers, so it has that turn.
 */
export function afterHearing(loopTime: LoopTime, callback: () => void, ms: number): () => void {
  let last: NodeJS.Immediate | undefined;
  const cancel = afterAtLeast(
    loopTime,
    () => {
      last = setImmediate(callback);
    },
    ms,
  );
  return () => {
    cancel();
    clearImmediate(last);
  };
}
