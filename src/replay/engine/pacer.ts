import type { Clock } from '../../core/clock.ts';
import { Durations, type DurationsNs } from './health.ts';
import type { DueRing } from './shared-memory.ts';

/** The due times a pacer works through, in order; nanoseconds on whatever clock `next` is given. */
export interface DueTimes {
  /** The earliest instant not yet taken, or null when none is known (yet). */
  peekNs(): number | null;
  /** Takes that instant. */
  shift(): void;
}

/** How overdue instants are worked off: in order, and not as one burst that nobody ever recorded. */
export interface CatchUp {
  /** Lateness from which on instants are spread out. Below it they are simply taken at once. */
  readonly fromLagNs: number;
  /** Least distance between two overdue instants, unless the plan itself has them closer. */
  readonly gapNs: number;
  /** How far behind this spacing may fall before it forgets: keeps jitter from lowering the rate. */
  readonly slackNs: number;
}

/** While catching up, planned gaps shrink to this share: a stall is worked off in four times its length. */
const CATCH_UP_SHARE = 0.8;

interface PacerStep {
  /** How many instants were taken: they are due now, in order. */
  readonly due: number;
  /** Until the next is due; Infinity when none is known. 0 when `limit` cut this step short. */
  readonly waitNs: number;
}

/**
 * Decides what is due. Knows only absolute deadlines, so silence costs nothing and an error never adds up; no
 * clock, no thread, no sleep. An instant is never due before itself.
 */
export class Pacer {
  readonly #dues: DueTimes;
  readonly #catchUp: CatchUp | null;
  #previousDueNs = Number.NEGATIVE_INFINITY;
  /** Where the previous overdue instant was put; meaningful while catching up. */
  #slotNs = Number.NEGATIVE_INFINITY;
  #catchingUp = false;

  /** @param catchUp null where nothing has to be spread out after a stall */
  constructor(dues: DueTimes, catchUp: CatchUp | null) {
    this.#dues = dues;
    this.#catchUp = catchUp;
  }

  /** Overdue instants are being spread out. */
  get catchingUp(): boolean {
    return this.#catchingUp;
  }

  /** Takes everything that is due at `nowNs`, at most `limit` instants. */
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

  /** The instant at which `dueNs` may go: itself, or later while a stall is being worked off. */
  #slotOf(dueNs: number, nowNs: number): number {
    const catchUp = this.#catchUp;
    if (catchUp === null) return dueNs;
    if (!this.#catchingUp) {
      if (nowNs - dueNs < catchUp.fromLagNs) return dueNs;
      this.#catchingUp = true;
      this.#slotNs = nowNs - catchUp.gapNs;
    }
    // Where the plan is tighter than the peak (ties above all) its own distances hold, a little shortened: else
    // a plan that is flat at its peak would stay late for ever.
    const plannedGapNs = (dueNs - this.#previousDueNs) * CATCH_UP_SHARE;
    const earliestNs = Math.max(this.#slotNs, nowNs - catchUp.slackNs - catchUp.gapNs);
    const slotNs = earliestNs + Math.min(plannedGapNs, catchUp.gapNs);
    if (slotNs > dueNs) return slotNs;
    this.#catchingUp = false;
    return dueNs;
  }
}

/**
 * How long before an instant its sender is woken. Pacer and sender each wake some 10 to 50 µs late. A sender waits
 * awake for the rest, which keeps others from that core: 200 µs made p99 of arrivals worse, 120 µs the median.
 */
export const WAKE_LEAD_NS = 160_000;

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
