import { Moments } from './moments.ts';
import { SendOrder } from './send-order.ts';

/**
 * The gaps of sends that may be late so as to leave together. In a bunch they are of our making; with as much of
 * each send's lateness taken off as was allowed they are those of the plan again, but for what was late beyond that.
 */
export class CoalescedGaps {
  readonly #coalesceNs: number;
  readonly #gaps = new Moments();
  #lastNs: number | null = null;
  readonly #order = new SendOrder((atNs) => {
    if (this.#lastNs !== null) this.#gaps.add(atNs - this.#lastNs);
    this.#lastNs = atNs;
  });

  constructor(coalesceNs: number) {
    this.#coalesceNs = coalesceNs;
  }

  /** Takes a finished send by its place in the schedule, in any order; `sentNs` null for one that never left. */
  add(index: number, intendedNs: number, sentNs: number | null): void {
    this.#order.add(index, sentNs === null ? null : Math.max(intendedNs, sentNs - this.#coalesceNs));
  }

  /** To be called when no send is outstanding. */
  finish(): void {
    this.#order.flush();
  }

  /** As of any stream of arrivals; null below two of them. */
  get cv(): number | null {
    const { mean, variance } = this.#gaps;
    return mean === null || variance === null || mean === 0 ? null : Math.sqrt(variance) / mean;
  }
}
