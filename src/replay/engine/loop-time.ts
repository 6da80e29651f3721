import type { Clock } from '../../core/clock.ts';

/** A running loop reads its time far more often than this. The rest of a longer gap is a standstill. */
const STEP_MAX_NS = 100_000_000;

/**
 * Time during which an event loop ran, in nanoseconds. Time-outs of a target use it: while the loop stands still, no
 * answer can be read, which is not the target's fault. Its owner reads it about forty times a second.
 */
export class LoopTime implements Pick<Clock, 'nowNs'> {
  readonly #clock: Pick<Clock, 'nowNs'>;
  #lookedNs: number;
  #stoodNs = 0;

  constructor(clock: Pick<Clock, 'nowNs'>) {
    this.#clock = clock;
    this.#lookedNs = clock.nowNs();
  }

  /** Runs with the clock while the loop turns, and stops during a standstill. */
  nowNs(): number {
    const nowNs = this.#clock.nowNs();
    this.#stoodNs += Math.max(0, nowNs - this.#lookedNs - STEP_MAX_NS);
    this.#lookedNs = nowNs;
    return nowNs - this.#stoodNs;
  }
}

/**
 * Runs a callback after at least `ms`. A plain timer of Node may be up to a millisecond early.
 * @returns a function that cancels it
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

/** Timers of Node count whole milliseconds. What is left of a wait after them passes in turns of the loop. */
const TIMER_STEP_MS = 1;

/**
 * Runs a callback at an instant of the clock, not before, and usually within a millisecond after it.
 * @returns a function that cancels it
 */
export function atInstant(clock: Pick<Clock, 'nowNs'>, callback: () => void, dueNs: number): () => void {
  let timer: NodeJS.Timeout | undefined;
  let turn: NodeJS.Immediate | undefined;
  const look = (): void => {
    if (clock.nowNs() >= dueNs) callback();
    else wait();
  };
  const wait = (): void => {
    const leftMs = (dueNs - clock.nowNs()) / 1e6;
    if (leftMs < TIMER_STEP_MS) turn = setImmediate(look);
    else timer = setTimeout(look, Math.floor(leftMs));
  };
  wait();
  return () => {
    clearTimeout(timer);
    clearImmediate(turn);
  };
}

/**
 * Like `afterAtLeast`, on the loop's time, and only after all arrived data were read. Data that arrived during a
 * standstill are read after the timers, so the callback waits one more turn.
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
