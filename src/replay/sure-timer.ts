import type { Clock } from '../core/clock.ts';
import type { LoopTime } from './loop-time.ts';

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
