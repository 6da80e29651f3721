import type { Clock } from '../core/clock.ts';

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
