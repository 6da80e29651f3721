import type { ComparedMetric, ComparisonBounds } from '../../documents/comparison.ts';
import type { MetricVerdict } from './compared-metric.ts';
import { DEPENDENCE_TO_RATIOS, JUDGED_PERCENTILES, WINDOW_TO_DEPENDENCE } from './comparison-bounds.ts';
import { dependenceLength, ratioDependenceLength } from './dependence.ts';
import type { PairedTimes } from './paired-answers.ts';
import { percentileChange, percentileOf } from './percentile-change.ts';
import { MIN_WINDOWS, windowCount } from './window-interval.ts';

/** Times of one kind, pair by pair. */
export interface ComparedTimes extends PairedTimes {
  readonly name: 'latency' | 'ttft' | 'itl_mean';
  /** The same pairs with our own lag taken out; null where there is none, or it is no part of them. */
  readonly lessLag: (() => PairedTimes) | null;
  /** Whether SAME needs its percentiles, of those that it needs at all. */
  readonly required: boolean;
}

interface Planned {
  readonly times: ComparedTimes;
  readonly percent: number;
  readonly required: boolean;
  readonly least: number;
  readonly windows: number;
}

/**
 * Differences of percentiles, window by window of the same requests, with intervals over the windows.
 * A window holds at least six times what hangs together on the calmer side: the same build has that on both. What
 * hangs together on both for a cause that they share is left to the pairs: it is bounded by that of their ratios.
 * @param others metrics besides these that share the error with them
 */
export function latencyMetrics(
  kinds: readonly ComparedTimes[],
  bounds: ComparisonBounds,
  others: number,
): ComparedMetric[] {
  const planned = kinds.flatMap(plansOf);
  const judged = planned.filter(({ windows }) => windows > 0).length + others;
  return kinds.flatMap((times) => {
    const lessLag = times.lessLag?.() ?? null;
    return planned
      .filter((plan) => plan.times === times)
      .map((plan) => metricOf(plan, lessLag, bounds, judged));
  });
}

function plansOf(times: ComparedTimes): Planned[] {
  const { a, b } = times;
  const dependence = Math.min(
    dependenceLength(a),
    dependenceLength(b),
    DEPENDENCE_TO_RATIOS * ratioDependenceLength(a, b),
  );
  return JUDGED_PERCENTILES.map(({ percent, leastPairs, required }) => {
    const least = Math.ceil(Math.max(leastPairs, WINDOW_TO_DEPENDENCE * dependence));
    const windows = windowCount(times.a.length, least);
    return { times, percent, required: required && times.required, least, windows };
  });
}

function metricOf(
  { times, percent, required, least, windows }: Planned,
  lessLag: PairedTimes | null,
  bounds: ComparisonBounds,
  judged: number,
): ComparedMetric {
  const { a, b, name } = times;
  const base = {
    name: `${name}_p${percent}`,
    unit: 'ms' as const,
    a: inMs(percentileOf(a, percent)),
    b: inMs(percentileOf(b, percent)),
    difference: null,
    pairs: a.length,
    required,
  };
  if (windows === 0) {
    const none = {
      ratio: null,
      ratioLessLag: null,
      interval: null,
      interval90: null,
      shift: null,
      windows: 0,
      blindWindows: 0,
    };
    return { ...base, ...none, verdict: 'undecided', doubt: null, pairsNeeded: least * MIN_WINDOWS };
  }
  const changeOf = (each: PairedTimes) => percentileChange(each, percent, windows, judged, bounds);
  const { halfLog90, isBlind, ...change } = changeOf(times);
  const without = lessLag === null ? null : changeOf(lessLag);
  const verdict = without === null ? change.verdict : heldByBoth(change.verdict, without.verdict);
  const doubt = isBlind
    ? 'no_answer'
    : verdict !== change.verdict && verdict === 'undecided'
      ? 'our_lag'
      : null;
  const isForPairs = verdict === 'undecided' && doubt === null;
  return {
    ...base,
    ...change,
    ratioLessLag: without?.ratio ?? null,
    windows,
    verdict,
    doubt,
    pairsNeeded: isForPairs ? neededFor(a.length, halfLog90, bounds) : null,
  };
}

/**
 * What is told of a time holds from the planned instant and from when we sent: a late generator makes no target slower,
 * and a punctual one hides none that is.
 */
function heldByBoth(scheduled: MetricVerdict, lessLag: MetricVerdict): MetricVerdict {
  if (scheduled === lessLag) return scheduled;
  const isNoWorse = (verdict: MetricVerdict) => verdict === 'same' || verdict === 'better';
  return isNoWorse(scheduled) && isNoWorse(lessLag) ? 'same' : 'undecided';
}

/** The width falls with the root of the number; two thirds of the bound leave room for chance. */
function neededFor(pairs: number, half90: number, { detect }: ComparisonBounds): number {
  const wanted = (2 / 3) * Math.log1p(detect);
  return Math.ceil(pairs * Math.max(1.5, (half90 / wanted) ** 2));
}

function inMs(ns: number): number | 'Infinity' | null {
  if (Number.isNaN(ns)) return null;
  return ns === Number.POSITIVE_INFINITY ? 'Infinity' : ns / 1e6;
}
