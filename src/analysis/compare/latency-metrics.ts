import { nearestRank } from '../../core/histogram.ts';
import type { ComparedMetric, MetricVerdict } from './compared-metric.ts';
import {
  type ComparisonBounds,
  DEPENDENCE_TO_RATIOS,
  JOINT_CONFIDENCE,
  JUDGED_PERCENTILES,
  SAME_CONFIDENCE,
  WINDOW_TO_DEPENDENCE,
} from './comparison-bounds.ts';
import { dependenceLength, ratioDependenceLength } from './dependence.ts';
import type { PairedTimes } from './paired-answers.ts';
import {
  halfWidth,
  hodgesLehmann,
  MIN_WINDOWS,
  spreadsOver,
  windowCount,
  windowEdges,
} from './window-interval.ts';

/** A window in which one side has no answer at the percentile differs by this, and by no more. */
const MOST_DIFFERENCE = Math.log(100);

/** Times of one kind, pair by pair. */
export interface ComparedTimes extends PairedTimes {
  readonly name: 'latency' | 'ttft' | 'itl_mean';
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
  return planned.map((plan) => metricOf(plan, bounds, judged));
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
    const none = { ratio: null, interval: null, interval90: null, shift: null, windows: 0 };
    return { ...base, ...none, verdict: 'undecided', pairsNeeded: least * MIN_WINDOWS };
  }
  const differencesOf = (count: number) => windowDifferences(a, b, percent, count);
  const spreads = spreadsOver(windows, differencesOf);
  const mean = spreads[0]!.mean;
  const half = halfWidth(spreads, 1 - (1 - JOINT_CONFIDENCE) / 2 / judged);
  const half90 = halfWidth(spreads, (1 + SAME_CONFIDENCE) / 2);
  const verdict = verdictOf(mean, half, half90, bounds);
  return {
    ...base,
    ratio: Math.exp(mean),
    interval: [Math.exp(mean - half), Math.exp(mean + half)],
    interval90: [Math.exp(mean - half90), Math.exp(mean + half90)],
    shift: Math.exp(hodgesLehmann(differencesOf(windows))),
    windows,
    verdict,
    pairsNeeded: verdict === 'undecided' ? neededFor(a.length, half90, bounds) : null,
  };
}

/** All in logarithms. A change must be more than chance and more than the floor; no change must be shown as well. */
function verdictOf(mean: number, half: number, half90: number, bounds: ComparisonBounds): MetricVerdict {
  const floor = Math.log1p(bounds.floor);
  if (mean - half > 0 && mean >= floor) return 'worse';
  if (mean + half < 0 && mean <= -floor) return 'better';
  return mean + half90 < Math.log1p(bounds.detect) ? 'same' : 'undecided';
}

/** The width falls with the root of the number; two thirds of the bound leave room for chance. */
function neededFor(pairs: number, half90: number, { detect }: ComparisonBounds): number {
  const wanted = (2 / 3) * Math.log1p(detect);
  return Math.ceil(pairs * Math.max(1.5, (half90 / wanted) ** 2));
}

function windowDifferences(a: Float64Array, b: Float64Array, percent: number, windows: number): number[] {
  return Array.from({ length: windows }, (_, at) => {
    const [from, to] = windowEdges(a.length, windows, at);
    return differenceOf(
      percentileOf(a.subarray(from, to), percent),
      percentileOf(b.subarray(from, to), percent),
    );
  });
}

function differenceOf(a: number, b: number): number {
  if (a === b) return 0;
  const difference = Math.log(Math.max(1, b)) - Math.log(Math.max(1, a));
  return Math.max(-MOST_DIFFERENCE, Math.min(MOST_DIFFERENCE, difference));
}

/** Nearest rank. NaN where there is none. */
export function percentileOf(values: Float64Array, percent: number): number {
  if (values.length === 0) return Number.NaN;
  return Float64Array.from(values).sort()[nearestRank(percent, values.length) - 1]!;
}

function inMs(ns: number): number | 'Infinity' | null {
  if (Number.isNaN(ns)) return null;
  return ns === Number.POSITIVE_INFINITY ? 'Infinity' : ns / 1e6;
}
