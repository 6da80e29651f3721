import type { Clock } from '../core/clock.ts';

/**
 * Runs a callback after so many milliseconds, and never before. A timer of Node counts from when its loop last looked
 * at the clock, and so comes early by what had passed since: nobody's client left before its time.
 */
export function afterAtLeast(clock: Clock, callback: () => void, ms: number): void {
  const dueNs = clock.nowNs() + ms * 1e6;
  const look = (): void => {
    const leftNs = dueNs - clock.nowNs();
    if (leftNs <= 0) callback();
    else setTimeout(look, Math.ceil(leftNs / 1e6));
  };
  setTimeout(look, ms);
}
