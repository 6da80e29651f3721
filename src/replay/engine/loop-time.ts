import type { Clock } from '../../core/clock.ts';

/** A running loop reads its time far more often than this; the rest of a longer gap is a standstill. */
const STEP_MAX_NS = 100_000_000;

/**
 * Time in which an event loop ran, in nanoseconds. Time-outs of a target are measured by it: while the loop stands
 * still no answer can be read, and that is not the target's fault. Its owner reads it some forty times a second.
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
 * Runs a callback after `ms`, never earlier; a timer of Node may come up to a millisecond early.
 * @returns how to cancel it
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
 * As `afterAtLeast`, by the time of a loop, and not before everything that had arrived was read: what arrived during a
 * standstill is read after the timers, so the callback waits one more turn.
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
