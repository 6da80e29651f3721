import { Moments } from './moments.ts';

/** CV of the gaps between wakes: as the plan has them, and as sends show them. Null below two gaps. */
export interface WakeFigures {
  readonly plannedCv: number | null;
  readonly sentCv: number | null;
}

/**
 * The gaps of a replay whose sends may leave together. Within a bunch its gaps are of our making, and say nothing; so
 * those from bunch to bunch are held against those that the plan comes to where whoever keeps the time sleeps for
 * `coalesceNs` at least from one wake to the next.
 */
export class WakeGaps {
  readonly #coalesceNs: number;
  readonly #planned = new Gaps();
  readonly #sent = new Gaps();

  constructor(coalesceNs: number) {
    this.#coalesceNs = coalesceNs;
  }

  /** Takes the next planned instant, nanoseconds, in order. */
  addPlanned(dueNs: number): void {
    const { lastNs } = this.#planned;
    // What comes due while it sleeps leaves when that is over; until then the wake to come is the last.
    if (dueNs > lastNs) this.#planned.add(Math.max(dueNs, lastNs + this.#coalesceNs));
  }

  /** Takes the next instant of sending, in order. */
  addSent(sentNs: number): void {
    // Sends of one wake follow each other within microseconds; wakes are `coalesceNs` apart, less what one is early by.
    if (sentNs - this.#sent.lastNs >= this.#coalesceNs / 2) this.#sent.add(sentNs);
  }

  figures(): WakeFigures {
    return { plannedCv: this.#planned.cv, sentCv: this.#sent.cv };
  }
}

class Gaps {
  readonly #gaps = new Moments();
  #lastNs = Number.NEGATIVE_INFINITY;

  get lastNs(): number {
    return this.#lastNs;
  }

  add(atNs: number): void {
    if (Number.isFinite(this.#lastNs)) this.#gaps.add(atNs - this.#lastNs);
    this.#lastNs = atNs;
  }

  get cv(): number | null {
    const { mean, variance } = this.#gaps;
    return mean === null || variance === null || mean === 0 ? null : Math.sqrt(variance) / mean;
  }
}
