import { ArrivalStatistics } from '../../src/analysis/stats/arrivals.ts';
import type { ArrivalPlan } from './arrival-plan.ts';
import { median, quantile } from './statistics.ts';

/** Differences between arrivals at the target and their plan, µs, after the sender's warm-up. */
export interface ArrivalErrors {
  /** All arrivals, with those of the warm-up. */
  readonly arrived: number;
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
  /** Median error of the last tenth minus that of the first tenth: an error that accumulates over a run. */
  readonly driftUs: number;
}

/** A known start, or `fitted`: then the smallest error is 0. */
export type PlanStart = { readonly startNs: number } | 'fitted';

/**
 * Error = arrival − (start + planned offset). Each request carries its index.
 * @param pairs index and instant, as the arrival server reports them
 * @param warmRequests the first requests, which are a warm-up and have no error
 * @throws Error if a request arrived twice or was not planned
 */
export function arrivalErrors(
  pairs: Float64Array,
  plan: ArrivalPlan,
  start: PlanStart,
  warmRequests: number,
): ArrivalErrors {
  const seen = new Set<number>();
  const offPlan: { index: number; ns: number }[] = [];
  for (let at = 0; at < pairs.length; at += 2) {
    const index = pairs[at] as number;
    const offsetUs = plan[index];
    if (offsetUs === undefined || seen.has(index))
      throw new Error(`request ${index} twice, or never planned`);
    seen.add(index);
    if (index >= warmRequests) offPlan.push({ index, ns: (pairs[at + 1] as number) - offsetUs * 1e3 });
  }
  const zeroNs =
    start === 'fitted'
      ? offPlan.reduce((least, { ns }) => Math.min(least, ns), Number.POSITIVE_INFINITY)
      : start.startNs;
  const errorsUs = offPlan.map(({ ns }) => (ns - zeroNs) / 1e3);
  const tenth = (plan.length - warmRequests) / 10;
  const of = (from: number, to: number): number[] =>
    errorsUs.filter((_, at) => (offPlan[at]?.index ?? -1) >= from && (offPlan[at]?.index ?? -1) < to);
  return {
    arrived: seen.size,
    p50Us: quantile(errorsUs, 0.5),
    p90Us: quantile(errorsUs, 0.9),
    p99Us: quantile(errorsUs, 0.99),
    maxUs: quantile(errorsUs, 1),
    driftUs: median(of(plan.length - tenth, plan.length)) - median(of(warmRequests, warmRequests + tenth)),
  };
}

/** Index of dispersion for counts: arrivals divided by plan, minus 1, for each window width in seconds. */
export function dispersionErrors(
  pairs: Float64Array,
  plan: ArrivalPlan,
  startNs: number,
): Record<string, number> {
  const planned = new ArrivalStatistics(1e6);
  for (const offsetUs of plan) planned.add(offsetUs);
  const arrived = new ArrivalStatistics(1e6);
  arrived.layWindowsFrom(Math.floor(startNs / 1e3));
  for (let at = 0; at < pairs.length; at += 2) arrived.add(Math.floor((pairs[at + 1] as number) / 1e3));
  const [want, have] = [planned.figures().idc, arrived.figures().idc];
  return Object.fromEntries(
    (['0.1', '1', '10'] as const).map((window) => [
      window,
      (have[window] ?? Number.NaN) / (want[window] ?? Number.NaN) - 1,
    ]),
  );
}
