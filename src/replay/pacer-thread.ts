import type { Clock } from '../core/clock.ts';
import type { DueRing } from './due-ring.ts';
import { Durations } from './durations.ts';
import type { DurationsNs } from './engine-health.ts';
import type { Launcher } from './launcher.ts';
import { WakeLead } from './wake-lead.ts';

/**
 * How long before an instant the sender is woken for what is not laid out, behind what is: two threads wake then,
 * each some 10 to 40 µs late at the median. Twice as long would meet more of those sends awake, and cost each 40 µs
 * of CPU more, which is what keeps a busy machine from running us in time.
 */
export const WAKE_LEAD_NS = 60_000;
/** So late it leaves a request to its sender, which spreads out what is overdue. */
export const LAUNCH_LATE_NS = 50_000_000;

/**
 * Blocks its thread until the ring has ended, launching what is laid out and waking the sender of what is not.
 * @param startNs the run's zero, monotonic
 */
export function runPacer(
  ring: DueRing,
  launcher: Launcher,
  startNs: number,
  clock: Clock,
  wake: (sender: number) => void,
): DurationsNs {
  const lateness = new Durations();
  const lead = new WakeLead();
  const left = new SendersLeftTo(ring, wake);
  /** When the sleep is over that this thread has lain down to; Infinity while it is up, or sleeps for a change. */
  let expectedNs = Number.POSITIVE_INFINITY;
  while (!ring.ended) {
    const changes = ring.changes();
    const offsetNs = ring.peekNs();
    const dueNs = offsetNs === null ? Number.POSITIVE_INFINITY : startNs + offsetNs;
    const nowNs = clock.nowNs();
    const laidOut = offsetNs !== null && launcher.isReady(ring.peekSender());
    const leadNs = laidOut ? lead.ns : WAKE_LEAD_NS;
    if (dueNs - leadNs > nowNs) {
      left.wake();
      expectedNs = dueNs - leadNs;
      if (!ring.ended) ring.sleep(changes, (expectedNs - nowNs) / 1e6);
      continue;
    }
    if (Number.isFinite(expectedNs)) {
      lateness.record(nowNs - expectedNs);
      lead.learn(nowNs - expectedNs);
    }
    expectedNs = Number.POSITIVE_INFINITY;
    const sender = ring.peekSender();
    const isLate = nowNs - dueNs > LAUNCH_LATE_NS;
    if (launcher.pass(sender) && !isLate) {
      left.wake();
      // Awake: what is left is less than it would take to sleep.
      while (clock.nowNs() < dueNs && !ring.stopped);
      if (ring.stopped) break;
      if (!launcher.launch(sender)) left.add(sender);
    } else {
      if (isLate) launcher.leave(sender);
      left.add(sender);
    }
    ring.shift();
  }
  left.wake();
  return lateness.summary();
}

/** Senders that have something to do, each of which is woken once for all of it. */
class SendersLeftTo {
  readonly #ring: DueRing;
  readonly #wake: (sender: number) => void;
  /** A bit for each. */
  #senders = 0;

  constructor(ring: DueRing, wake: (sender: number) => void) {
    this.#ring = ring;
    this.#wake = wake;
  }

  add(sender: number): void {
    this.#senders |= 1 << sender;
  }

  wake(): void {
    for (let sender = 0; this.#senders !== 0; sender += 1, this.#senders >>>= 1) {
      if ((this.#senders & 1) === 1 && !this.#ring.isAwake(sender)) this.#wake(sender);
    }
  }
}
