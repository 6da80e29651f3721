import { type Histogram, nearestRank } from '../core/histogram.ts';
import type { Aggregation } from './slo.ts';

/** Percentiles of lag that are tried, the greatest of all among them: any proves as much as another. */
const TRIED_PERCENTS = [50, 90, 99, 99.9, 100] as const;

/** What is known of how late we were ourselves. */
interface LatenessFacts {
  /** How late requests were sent, nanoseconds. */
  readonly lag: Histogram;
  /** How long we stood still, and caught up, in all. */
  readonly stalledNs: number;
}

/**
 * Tells what of a time that is too long cannot be our own doing. An answer waits for the loop that a request waited
 * for, so that it may have been read as late as others were sent; and what was sent in a burst after a standstill
 * makes the target slower by as long as that took, at most, for as long as it does not rest.
 *
 * Of the true times T, of which S is seen, late by R: P(T > x) ≥ P(S > x + r) − P(R > r), for any r.
 */
export class OurLateness {
  readonly #lag: Histogram;
  readonly #stalledNs: number;

  constructor({ lag, stalledNs }: LatenessFacts) {
    this.#lag = lag;
    this.#stalledNs = stalledNs;
  }

  /** Whether an instant that is `ns` away is beyond `limitNs` without us. */
  provesSpan(ns: number, limitNs: number): boolean {
    return ns - this.#stalledNs - (this.#lag.max ?? 0) > limitNs;
  }

  /**
   * Whether an aggregation of times is over a limit without us.
   * @param infinite times that count as greater than any
   * @param ends how many ends of each time are an instant of ours: its end, or its begin as well
   */
  proves(
    aggregation: Aggregation,
    limitNs: number,
    times: Histogram,
    infinite: number,
    ends: 1 | 2,
  ): boolean {
    if (times.count + infinite === 0) return false;
    const greatestNs = ends * (this.#lag.max ?? 0);
    const overNs = limitNs + this.#stalledNs;
    switch (aggregation.kind) {
      case 'percentile':
        return this.#provesPercentile(aggregation.percent, overNs, times, infinite, ends);
      case 'avg':
        return infinite > 0 || (times.mean ?? 0) - ends * (this.#lag.mean ?? 0) > overNs;
      case 'max':
        return infinite > 0 || (times.max ?? 0) - greatestNs > overNs;
      case 'min':
        return (times.min ?? Number.POSITIVE_INFINITY) - greatestNs > overNs;
      default:
        throw new Error(`${aggregation.kind} is no aggregation of a time`);
    }
  }

  #provesPercentile(percent: number, overNs: number, times: Histogram, infinite: number, ends: number) {
    const total = times.count + infinite;
    const needed = total - nearestRank(percent, total) + 1;
    return TRIED_PERCENTS.some((tried) => {
      const lateNs = ends * (this.#lag.percentile(tried) ?? 0);
      const later = this.#lag.count === 0 ? 0 : (ends * total * (100 - tried)) / 100;
      return times.countOver(overNs + lateNs) + infinite - later >= needed;
    });
  }
}
