import type { Clock } from '../../core/clock.ts';
import { Durations, type DurationsNs } from './health.ts';
import type { DueRing } from './shared-memory.ts';

/** The due times that a pacer works through, in order, in nanoseconds on the clock of `next`. */
export interface DueTimes {
  /** The earliest instant that was not taken; null if none is known yet. */
  peekNs(): number | null;
  /** Takes that instant. */
  shift(): void;
}

/** How overdue instants are caught up: in order, and not in one burst that was never recorded. */
export interface CatchUp {
  /** Lateness above which instants are spread out. Below it they are taken at once. */
  readonly fromLagNs: number;
  /** Minimum gap between two overdue instants, unless they are closer in the plan. */
  readonly gapNs: number;
  /** How far catching up may fall behind its own spacing, so that jitter does not lower its rate. */
  readonly slackNs: number;
}

/** While catching up, planned gaps shrink to this share, so a stall is caught up in four times its length. */
const CATCH_UP_SHARE = 0.8;

interface PacerStep {
  /** How many instants were taken. They are due now, in order. */
  readonly due: number;
  /** Time until the next is due; Infinity if none is known; 0 if `limit` ended this step. */
  readonly waitNs: number;
}

/**
 * Decides which instants are due. It uses only absolute deadlines, so pauses cost nothing and errors do not add up. It
 * has no clock, thread or sleep. No instant is due early.
 */
export class Pacer {
  readonly #dues: DueTimes;
  readonly #catchUp: CatchUp | null;
  #previousDueNs = Number.NEGATIVE_INFINITY;
  /** The time given to the previous overdue instant; used only while catching up. */
  #slotNs = Number.NEGATIVE_INFINITY;
  #catchingUp = false;

  /** @param catchUp null if overdue instants are not spread out */
  constructor(dues: DueTimes, catchUp: CatchUp | null) {
    this.#dues = dues;
    this.#catchUp = catchUp;
  }

  /** Whether overdue instants are being spread out. */
  get catchingUp(): boolean {
    return this.#catchingUp;
  }

  /** Takes the instants that are due at `nowNs`, at most `limit`. */
  next(nowNs: number, limit = Number.POSITIVE_INFINITY): PacerStep {
    let due = 0;
    for (let dueNs = this.#dues.peekNs(); dueNs !== null; dueNs = this.#dues.peekNs()) {
      const slotNs = this.#slotOf(dueNs, nowNs);
      if (slotNs > nowNs) return { due, waitNs: slotNs - nowNs };
      if (due >= limit) return { due, waitNs: 0 };
      this.#dues.shift();
      this.#previousDueNs = dueNs;
      this.#slotNs = slotNs;
      due++;
    }
    return { due, waitNs: Number.POSITIVE_INFINITY };
  }

  /** When the request due at `dueNs` may be sent: then, or later while a stall is caught up. */
  #slotOf(dueNs: number, nowNs: number): number {
    const catchUp = this.#catchUp;
    if (catchUp === null) return dueNs;
    if (!this.#catchingUp) {
      if (nowNs - dueNs < catchUp.fromLagNs) return dueNs;
      this.#catchingUp = true;
      this.#slotNs = nowNs - catchUp.gapNs;
    }
    // If the plan's gaps are shorter than the minimum (such as ties), they are used, a little shortened. Otherwise a
    // plan that is always at its peak rate would stay late forever.
    const plannedGapNs = (dueNs - this.#previousDueNs) * CATCH_UP_SHARE;
    const earliestNs = Math.max(this.#slotNs, nowNs - catchUp.slackNs - catchUp.gapNs);
    const slotNs = earliestNs + Math.min(plannedGapNs, catchUp.gapNs);
    if (slotNs > dueNs) return slotNs;
    this.#catchingUp = false;
    return dueNs;
  }
}

/**
 * How long before an instant its sender is woken. Pacer and sender each wake 10 to 50 µs late. The sender spins for the
 * rest, which blocks a core for other threads. With 200 µs, the p99 of arrivals was worse; with 120 µs, the median.
 */
export const WAKE_LEAD_NS = 160_000;
/**
 * The same for the first instant of a sender after a pause. Code and data of both threads are no longer in the
 * processor's caches then, so they take longer: at 100/s, the median send was 0.2 ms late.
 */
export const RESTED_LEAD_NS = 400_000;
export const RESTED_AFTER_NS = 4_000_000;

/** When to wake a sender for its instants, in order. */
class WakeTimes {
  #lastNs = Number.NEGATIVE_INFINITY;
  /** The last instant after a pause. The sender is awake for those just after it. */
  #restedNs = Number.NEGATIVE_INFINITY;

  of(offsetNs: number): number {
    if (offsetNs - this.#lastNs > RESTED_AFTER_NS) return offsetNs - RESTED_LEAD_NS;
    const isAwake = offsetNs - this.#restedNs <= RESTED_LEAD_NS - WAKE_LEAD_NS;
    return isAwake ? this.#restedNs - RESTED_LEAD_NS : offsetNs - WAKE_LEAD_NS;
  }

  take(offsetNs: number): void {
    if (offsetNs - this.#lastNs > RESTED_AFTER_NS) this.#restedNs = offsetNs;
    this.#lastNs = offsetNs;
  }
}

/**
 * Blocks its thread until the ring has ended, and wakes each sender a little before its next instant.
 * @param startNs the run's zero, monotonic
 * @returns how late the pacer itself woke
 */
export function runPacer(
  ring: DueRing,
  startNs: number,
  clock: Clock,
  wake: (sender: number) => void,
): DurationsNs {
  const lateness = new Durations();
  const due = new Set<number>();
  const wakeTimes = Array.from({ length: ring.senders }, () => new WakeTimes());
  const pacer = new Pacer(
    {
      peekNs: () => {
        const offsetNs = ring.peekNs();
        return offsetNs === null ? null : startNs + (wakeTimes[ring.peekSender()]?.of(offsetNs) ?? offsetNs);
      },
      shift: () => {
        const sender = ring.peekSender();
        wakeTimes[sender]?.take(ring.peekNs() ?? 0);
        due.add(sender);
        ring.shift();
      },
    },
    null,
  );
  /** The planned end of the sleep; Infinity if only a change can end it. */
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
