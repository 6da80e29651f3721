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

/** Factor for the calmer side: by chance it shows less dependence than its queue has. */
const CALMER_TO_DEPENDENCE = 1.3;

/** The dependence is at most this many times that of the ratios, because a change on both sides is no uncertainty. */
const DEPENDENCE_TO_RATIOS = 3;

/** Judged latency percentiles, and the fewest pairs of a window: MLPerf's minimum, and more than that for p50. */
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
  /** Whether SAME needs the required percentiles of these times. */
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
 * Percentiles of the times, each with the windows over which it is compared. A window is about eight times as long as
 * the dependence between neighbouring latencies. The calmer side decides, because two equal builds have the same
 * dependence. A shared cause makes both sides dependent, but not their ratios; so the ratios limit the dependence.
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

/** @param judged number of metrics that share the error, including this one */
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
 * The verdict that holds both from the planned instant and from the actual send. So a late generator does not make a
 * target look slower, and a punctual one does not hide a slower target.
 */
function heldByBoth(scheduled: Verdict, lessLag: Verdict): Verdict {
  if (scheduled === lessLag) return scheduled;
  const isNoWorse = (verdict: Verdict) => verdict === 'same' || verdict === 'better';
  return isNoWorse(scheduled) && isNoWorse(lessLag) ? 'same' : 'undecided';
}

/**
 * The pairs needed: the width falls with the square root of the number. Two thirds of the limit leave room for chance.
 */
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
/**
 * Most blind windows: neither side has an answer at the percentile. Beyond that, the other windows are no fair sample.
 */
const MOST_BLIND_SHARE = 0.1;

/**
 * How a percentile of B differs from that of A over windows of the same requests. Ratios use the windows in which at
 * least one side has an answer at the percentile. They are null if there is none.
 */
interface PercentileChange
  extends Pick<ComparedMetric, 'ratio' | 'interval' | 'interval90' | 'blindWindows' | 'verdict'> {
  /** Undecided because of blind windows: more pairs would not help. */
  readonly isBlind: boolean;
  /** Half the width of the 90 % interval, as a logarithm. */
  readonly halfLog90: number;
}

/**
 * Estimates the change of a percentile. Blind windows count as no difference when the spread is computed; with too many
 * of them, the verdict cannot be SAME.
 * @param judged number of metrics that share the error, including this one
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
  // Rescaled to the known windows only.
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

/** All in logarithms. A change must exceed chance and the floor. The absence of a change must be proven too. */
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

/** The difference of logarithms; NaN if neither side has an answer. */
function differenceOf(a: number, b: number): number {
  if (a === Number.POSITIVE_INFINITY && b === Number.POSITIVE_INFINITY) return Number.NaN;
  const difference = Math.log(Math.max(1, b)) - Math.log(Math.max(1, a));
  return Math.max(-MOST_DIFFERENCE, Math.min(MOST_DIFFERENCE, difference));
}

/** The percentile by nearest rank; NaN without values. */
function percentileOf(values: Float64Array, percent: number): number {
  if (values.length === 0) return Number.NaN;
  return Float64Array.from(values).sort()[nearestRank(percent, values.length) - 1]!;
}

const LINES = 20;

/** Latencies of both sides over the plan, for charts, in at most twenty windows of equal count. */
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
