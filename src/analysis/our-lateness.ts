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

/** Times that are measured, nanoseconds. */
export interface MeasuredTimes {
  readonly all: Histogram;
  /** Of them, those that were over before we first stood still, as far as that is known; left out where we never did. */
  readonly beforeStalls?: Histogram;
  /** Times that count as greater than any. */
  readonly infinite: number;
  /** How many ends of each time are an instant of ours: its end, or its begin as well. */
  readonly ends: 1 | 2;
}

/**
 * Tells what of a time that is too long cannot be our own doing. An answer waits for the loop that a request waited
 * for, so that it may have been read as late as others were sent; and what was sent in a burst after a standstill
 * makes the target slower by as long as that took, at most, for as long as it does not rest. What was over before the
 * first standstill owes nothing to any.
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

  /** Whether an aggregation of times is over a limit without us. */
  proves(aggregation: Aggregation, limitNs: number, times: MeasuredTimes): boolean {
    const { all, infinite, ends } = times;
    const total = all.count + infinite;
    if (total === 0) return false;
    switch (aggregation.kind) {
      case 'percentile':
        return this.#proveOver(total - nearestRank(aggregation.percent, total) + 1, limitNs, times);
      case 'max':
        return this.#proveOver(1, limitNs, times);
      case 'min':
        return this.#proveOver(total, limitNs, times);
      case 'avg': {
        const meanNs = (all.mean ?? 0) - ends * (this.#lag.mean ?? 0) - this.#stalledNs;
        return infinite > 0 || meanNs > limitNs;
      }
      default:
        throw new Error(`${aggregation.kind} is no aggregation of a time`);
    }
  }

  /** Whether so many of the times are over the limit without us. */
  #proveOver(needed: number, limitNs: number, { all, beforeStalls, infinite, ends }: MeasuredTimes): boolean {
    const total = all.count + infinite;
    return TRIED_PERCENTS.some((tried) => {
      const overNs = limitNs + ends * (this.#lag.percentile(tried) ?? 0);
      const later = this.#lag.count === 0 ? 0 : (ends * total * (100 - tried)) / 100;
      const pastNs = overNs + this.#stalledNs;
      const spared = (beforeStalls?.countOver(overNs) ?? 0) - (beforeStalls?.countOver(pastNs) ?? 0);
      return all.countOver(pastNs) + spared + infinite - later >= needed;
    });
  }
}
