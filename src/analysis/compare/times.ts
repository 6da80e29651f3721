import { nearestRank } from '../../core/histogram.ts';
import type { ComparedMetric, ComparisonBounds, WindowLine } from '../../documents/comparison.ts';
import {
  type Cut,
  cutOf,
  dependenceLength,
  halfWidth,
  jointQuantile,
  MIN_WINDOWS,
  type Points,
  ratioDependenceLength,
  sameQuantile,
  spreadsOver,
  windowEdges,
} from './intervals.ts';
import {
  comparableLatencies,
  type PairedAnswers,
  type PairedTimes,
  runEndsOf,
  type SideAnswers,
} from './pairs.ts';

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
  /** Null if there are too few pairs. */
  readonly cut: Cut | null;
}

/**
 * Percentiles of the times, each with the windows or runs over which it is compared. A window is about eight times as long as
 * the dependence between neighbouring latencies. The calmer side decides, because two equal builds have the same
 * dependence. A shared cause makes both sides dependent, but not their ratios; so the ratios limit the dependence.
 */
export function planTimes(times: ComparedTimes): Planned[] {
  const { a, b, runEnds } = times;
  const dependence =
    runEnds.length > 1
      ? 0
      : Math.min(
          CALMER_TO_DEPENDENCE * Math.min(dependenceLength(a), dependenceLength(b)),
          DEPENDENCE_TO_RATIOS * ratioDependenceLength(a, b),
        );
  return JUDGED_PERCENTILES.map(({ percent, leastPairs, required }) => {
    const least = Math.ceil(Math.max(leastPairs, WINDOW_TO_DEPENDENCE * dependence));
    return { times, percent, required: required && times.required, least, cut: cutOf(runEnds, least) };
  });
}

/** @param judged number of metrics that share the error, including this one */
export function timesMetric(
  { times, percent, required, least, cut }: Planned,
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
  if (cut === null) {
    const none = {
      ratio: null,
      ratioLessLag: null,
      interval: null,
      interval90: null,
      noise: null,
      windows: 0,
      blindWindows: 0,
    };
    const pairsNeeded = least * Math.max(MIN_WINDOWS, times.runEnds.length);
    return { ...base, ...none, verdict: 'undecided', doubt: null, pairsNeeded };
  }
  const changeOf = (each: PairedTimes) => percentileChange(each, percent, cut, judged, bounds);
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
    windows: cut.ends.length,
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

/** The difference of a window or run in which one side has no answer at the percentile. */
const MOST_DIFFERENCE = Math.log(100);
/**
 * Most blind windows: neither side has an answer at the percentile. Beyond that, the other windows are no fair sample.
 */
const MOST_BLIND_SHARE = 0.1;

/**
 * How a percentile of B differs from that of A over windows, or runs, of the same requests. Ratios use the windows in which at
 * least one side has an answer at the percentile. They are null if there is none.
 */
interface PercentileChange
  extends Pick<ComparedMetric, 'ratio' | 'interval' | 'interval90' | 'noise' | 'blindWindows' | 'verdict'> {
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
  { a, b }: Pick<PairedTimes, 'a' | 'b'>,
  percent: number,
  cut: Cut,
  judged: number,
  bounds: ComparisonBounds,
): PercentileChange {
  const windows = cut.ends.length;
  const known = logPoints({ a, b }, percent, cut.ends, null).a.length;
  const blindWindows = windows - known;
  // A single run of each side does not show how runs vary.
  if (known < (cut.isByRun ? 2 : 1)) {
    const none = { ratio: null, interval: null, interval90: null, noise: null, halfLog90: 0 };
    return { ...none, blindWindows, verdict: 'undecided', isBlind: true };
  }
  const spreads = spreadsOver(cut, (ends) => logPoints({ a, b }, percent, ends, cut.isByRun ? null : 0));
  // Rescaled to the known windows only.
  const scale = cut.isByRun ? 1 : windows / known;
  const mean = spreads[0]!.mean * scale;
  const half = halfWidth(cut, spreads, jointQuantile(judged, bounds)) * scale;
  const half90 = halfWidth(cut, spreads, sameQuantile(bounds)) * scale;
  const told = verdictOf(mean, half, half90, bounds);
  const isBlind = (told === 'same' || told === 'undecided') && blindWindows > MOST_BLIND_SHARE * windows;
  return {
    ratio: Math.exp(mean),
    interval: [Math.exp(mean - half), Math.exp(mean + half)],
    interval90: [Math.exp(mean - half90), Math.exp(mean + half90)],
    noise: spreads[0]!.noise,
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

/**
 * The logarithms of a percentile of both sides in each part. A side without an answer there counts as a hundred times
 * the other.
 * @param blind the value of both where neither has an answer; null leaves such parts out
 */
function logPoints(
  { a, b }: Pick<PairedTimes, 'a' | 'b'>,
  percent: number,
  ends: readonly number[],
  blind: number | null,
): Points {
  const points: { a: number[]; b: number[] } = { a: [], b: [] };
  ends.forEach((end, at) => {
    const logOf = (side: Float64Array) =>
      Math.log(Math.max(1, percentileOf(side.subarray(ends[at - 1] ?? 0, end), percent)));
    const [one, other] = [logOf(a), logOf(b)];
    const isBlind = one === Number.POSITIVE_INFINITY && other === Number.POSITIVE_INFINITY;
    if (isBlind && blind === null) return;
    points.a.push(isBlind ? (blind ?? 0) : Math.min(one, other + MOST_DIFFERENCE));
    points.b.push(isBlind ? (blind ?? 0) : Math.min(other, one + MOST_DIFFERENCE));
  });
  return points;
}

/** The percentile by nearest rank; NaN without values. */
function percentileOf(values: Float64Array, percent: number): number {
  if (values.length === 0) return Number.NaN;
  return Float64Array.from(values).sort()[nearestRank(percent, values.length) - 1]!;
}

const LINES = 20;

/**
 * Latencies of both sides for charts: over the plan, in at most twenty windows of equal count; or of each run.
 * @param startsS when each run of A started, from the first one on
 */
export function windowLines(
  pairs: PairedAnswers & { readonly offsetNs: Float64Array },
  startsS: readonly number[],
): WindowLine[] {
  const runEnds = runEndsOf(pairs);
  const count = Math.min(LINES, pairs.count);
  const isByRun = runEnds.length > 1;
  const edges = isByRun
    ? runEnds.map((end, at) => [runEnds[at - 1] ?? 0, end] as const)
    : Array.from({ length: count }, (_, at) => windowEdges(pairs.count, count, at));
  return edges.map(([from, to], at) => {
    const { a, b } = comparableLatencies(partOf(pairs, from, to));
    const both = (percent: number) => ({ a: ms(percentileOf(a, percent)), b: ms(percentileOf(b, percent)) });
    const sinceFirstS = (pairs.offsetNs[from]! - pairs.offsetNs[0]!) / 1e9;
    const fromS = isByRun ? (startsS[at] ?? 0) : sinceFirstS;
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
