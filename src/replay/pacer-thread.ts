import type { Clock } from '../core/clock.ts';
import type { DueRing } from './due-ring.ts';
import { Durations } from './durations.ts';
import type { DurationsNs } from './engine-health.ts';
import { Pacer } from './pacer.ts';

/**
 * How long before an instant the sender is woken. A thread asleep on Atomics.wait with tightened timers is some
 * 40 µs late at the median, and its message reaches the event loop 20 µs later: so half of the sends are met awake
 * and the other half are some tens of microseconds late. Twice as long would take those to 2 µs, and cost each
 * request 40 µs of CPU more, which is what keeps a busy machine from running us in time.
 */
export const WAKE_LEAD_NS = 60_000;

/** Blocks its thread until the ring has ended, waking the sender of each due instant ahead of it. */
export function runPacer(
  ring: DueRing,
  startNs: number,
  clock: Clock,
  wake: (sender: number) => void,
): DurationsNs {
  const lateness = new Durations();
  const pacer = new Pacer(ring, { leadNs: WAKE_LEAD_NS, catchUp: null });
  let expectedNs = Number.POSITIVE_INFINITY;
  while (!ring.ended) {
    const changes = ring.changes();
    const nowNs = clock.nowNs();
    const { due, waitNs } = pacer.next(nowNs - startNs);
    if (due > 0) {
      for (const sender of ring.takenSenders()) if (!ring.isAwake(sender)) wake(sender);
      if (Number.isFinite(expectedNs)) lateness.record(nowNs - expectedNs);
    }
    expectedNs = nowNs + waitNs;
    if (!ring.ended) ring.sleep(changes, waitNs / 1e6);
  }
  return lateness.summary();
}
