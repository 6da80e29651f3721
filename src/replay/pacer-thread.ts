import type { Clock } from '../core/clock.ts';
import type { DueRing } from './due-ring.ts';
import { Durations } from './durations.ts';
import type { DurationsNs } from './engine-health.ts';
import { Pacer } from './pacer.ts';

/** How long before an instant its sender is woken: two threads wake then, each some 10 to 50 µs late. */
export const WAKE_LEAD_NS = 200_000;

/**
 * Blocks its thread until the ring has ended, and wakes each sender a little before its next instant.
 * @param startNs the run's zero, monotonic
 * @returns how late it woke itself
 */
export function runPacer(
  ring: DueRing,
  startNs: number,
  clock: Clock,
  wake: (sender: number) => void,
): DurationsNs {
  const lateness = new Durations();
  const due = new Set<number>();
  const pacer = new Pacer(
    {
      peekNs: () => {
        const offsetNs = ring.peekNs();
        return offsetNs === null ? null : startNs + offsetNs - WAKE_LEAD_NS;
      },
      shift: () => {
        due.add(ring.peekSender());
        ring.shift();
      },
    },
    null,
  );
  /** When the sleep was to be over; Infinity where only a change would have ended it. */
  let expectedNs = Number.POSITIVE_INFINITY;
  while (!ring.ended) {
    const changes = ring.changes();
    const nowNs = clock.nowNs();
    if (nowNs >= expectedNs) lateness.record(nowNs - expectedNs);
    const { waitNs } = pacer.next(nowNs);
    for (const sender of due) if (!ring.isAwake(sender)) wake(sender);
    due.clear();
    expectedNs = nowNs + waitNs;
    if (!ring.ended) ring.sleep(changes, waitNs / 1e6);
  }
  return lateness.summary();
}
