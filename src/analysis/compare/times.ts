import { nearestRank } from '../../core/histogram.ts';
import type { ComparedMetric, ComparisonBounds, WindowLine } from '../../documents/comparison.ts';
import {
  dependenceLength,
  halfWidth,
  JOINT_CONFIDENCE,
  MIN_WINDOWS,
  ratioDependenceLength,
  SAME_CONFIDENCE,
  spreadsOver,
  windowCount,
  windowEdges,
} from './intervals.ts';
import { comparableLatencies, type PairedAnswers, type PairedTimes, type SideAnswers } from './pairs.ts';

/** Windows are at least this many times as long as the dependence between neighbours. */
const WINDOW_TO_DEPENDENCE = 6;

/** A side that happens to be calm shows less dependence than its queue has. */
const CALMER_TO_DEPENDENCE = 1.3;

/** The dependence is at most this many times that of the ratios: a swing that both sides share is no doubt. */
const DEPENDENCE_TO_RATIOS = 3;

/** Latency percentiles that are judged, and the fewest pairs of a window: MLPerf's floor, for p50 more than that. */
const JUDGED_PERCENTILES = [
  { percent: 50, leastPairs: 30, required: true },
  { percent: 95, leastPairs: 130, required: true },
  { percent: 99, leastPairs: 662, required: false },
] as const;

type Verdict = ComparedMetric['verdict'];

export interface ComparedTimes extends PairedTimes {
  readonly name: 'latency' | 'ttft' | 'itl_mean';
  /** The same pairs without our own lag; null if there is no lag, or the times exclude it. */
  readonly lessLag: PairedTimes | null;
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
 * Percentiles of the times, each with the windows over which it is compared. A window is at least eight times as long
 * as the dependence between neighbouring latencies, of the calmer side: the same build has it on both. A shared cause
 * makes both sides dependent but not their ratios, so those bound it.
 */
export function planTimes(times: ComparedTimes): Planned[] {
  const { a, b } = times;
  const dependence = Math.min(
    CALMER_TO_DEPENDENCE * Math.min(dependenceLength(a), dependenceLength(b)),
    DEPENDENCE_TO_RATIOS * ratioDependenceLength(a, b),
  );
  return JUDGED_PERCENTILES.map(({ percent, leastPairs, required }) => {
    const least = Math.ceil(Math.max(leastPairs, WINDOW_TO_DEPENDENCE * dependence));
    const windows = windowCount(times.a.length, least);
    return { times, percent, required: required && times.required, least, windows };
  });
}

/** @param judged metrics that share the error, this included */
export function timesMetric(
  { times, percent, required, least, windows }: Planned,
  bounds: ComparisonBounds,
  judged: number,
): ComparedMetric {
  const { a, b, name, lessLag } = times;
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
 * A result must hold when measured from the planned instant and from the actual send. So a late generator does not
 * make a target look slower, and a punctual generator does not hide a slower target.
 */
function heldByBoth(scheduled: Verdict, lessLag: Verdict): Verdict {
  if (scheduled === lessLag) return scheduled;
  const isNoWorse = (verdict: Verdict) => verdict === 'same' || verdict === 'better';
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

/** The difference of a window in which one side has no answer at the percentile. */
const MOST_DIFFERENCE = Math.log(100);
/** If neither side has an answer at the percentile in more windows than this, the others do not represent them. */
const MOST_BLIND_SHARE = 0.1;

/**
 * How a percentile of B differs from that of A over windows of the same requests. Ratios are over the windows in which
 * a side has an answer at the percentile, and null without any.
 */
interface PercentileChange
  extends Pick<ComparedMetric, 'ratio' | 'interval' | 'interval90' | 'blindWindows' | 'verdict'> {
  /** Undecided because of blind windows: more pairs would not help. */
  readonly isBlind: boolean;
  /** How wide the interval of 90 % is to either side, as a logarithm. */
  readonly halfLog90: number;
}

/**
 * A blind window counts as no difference: it makes no change certain, and does not show that there is none.
 * @param judged metrics that share the error between them, this included
 */
function percentileChange(
  { a, b }: PairedTimes,
  percent: number,
  windows: number,
  judged: number,
  bounds: ComparisonBounds,
): PercentileChange {
  const differencesOf = (count: number) => windowDifferences(a, b, percent, count);
  const known = differencesOf(windows).filter((each) => !Number.isNaN(each));
  const blindWindows = windows - known.length;
  if (known.length === 0) {
    const none = { ratio: null, interval: null, interval90: null, halfLog90: 0 };
    return { ...none, blindWindows, verdict: 'undecided', isBlind: true };
  }
  const spreads = spreadsOver(windows, (count) =>
    differencesOf(count).map((each) => (Number.isNaN(each) ? 0 : each)),
  );
  // Over the known windows alone.
  const scale = windows / known.length;
  const mean = spreads[0]!.mean * scale;
  const half = halfWidth(spreads, 1 - (1 - JOINT_CONFIDENCE) / 2 / judged) * scale;
  const half90 = halfWidth(spreads, (1 + SAME_CONFIDENCE) / 2) * scale;
  const told = verdictOf(mean, half, half90, bounds);
  const isBlind = (told === 'same' || told === 'undecided') && blindWindows > MOST_BLIND_SHARE * windows;
  return {
    ratio: Math.exp(mean),
    interval: [Math.exp(mean - half), Math.exp(mean + half)],
    interval90: [Math.exp(mean - half90), Math.exp(mean + half90)],
    blindWindows,
    verdict: isBlind ? 'undecided' : told,
    isBlind,
    halfLog90: half90,
  };
}

/** All in logarithms. A change must be more than chance and more than the floor; no change must be shown as well. */
function verdictOf(mean: number, half: number, half90: number, bounds: ComparisonBounds): Verdict {
  const floor = Math.log1p(bounds.floor);
  if (mean - half > 0 && mean >= floor) return 'worse';
  if (mean + half < 0 && mean <= -floor) return 'better';
  return mean + half90 < Math.log1p(bounds.detect) ? 'same' : 'undecided';
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

/** NaN where neither side has an answer. */
function differenceOf(a: number, b: number): number {
  if (a === Number.POSITIVE_INFINITY && b === Number.POSITIVE_INFINITY) return Number.NaN;
  const difference = Math.log(Math.max(1, b)) - Math.log(Math.max(1, a));
  return Math.max(-MOST_DIFFERENCE, Math.min(MOST_DIFFERENCE, difference));
}

/** Nearest rank. NaN for no values. */
function percentileOf(values: Float64Array, percent: number): number {
  if (values.length === 0) return Number.NaN;
  return Float64Array.from(values).sort()[nearestRank(percent, values.length) - 1]!;
}

const LINES = 20;

/** Latencies of both sides over the plan for charts, in at most twenty windows of equal counts. */
export function windowLines(pairs: PairedAnswers & { readonly offsetNs: Float64Array }): WindowLine[] {
  const count = Math.min(LINES, pairs.count);
  return Array.from({ length: count }, (_, at) => {
    const [from, to] = windowEdges(pairs.count, count, at);
    const { a, b } = comparableLatencies(partOf(pairs, from, to));
    const both = (percent: number) => ({ a: ms(percentileOf(a, percent)), b: ms(percentileOf(b, percent)) });
    const fromS = (pairs.offsetNs[from]! - pairs.offsetNs[0]!) / 1e9;
    return { fromS, pairs: to - from, p50: both(50), p95: both(95) };
  });
}

function partOf({ a, b }: PairedAnswers, from: number, to: number): PairedAnswers {
  const part = (side: SideAnswers): SideAnswers => ({
    ...side,
    latencyNs: side.latencyNs.subarray(from, to),
    outcome: side.outcome.subarray(from, to),
  });
  return { count: to - from, a: part(a), b: part(b) };
}

function ms(ns: number): number | null {
  return Number.isFinite(ns) ? ns / 1e6 : null;
}
