import type { ComparisonBounds } from '../../documents/comparison.ts';
import { studentT } from '../stats/percentiles.ts';

/** Probability that all intervals hold together. The error is divided equally between their two ends. */
const JOINT_CONFIDENCE = 0.99;
/** Confidence of the interval that shows the absence of a change, per metric (two one-sided tests of 5 %). */
const SAME_CONFIDENCE = 0.9;

/** The quantiles of both, where the error is divided among several looks at growing numbers of runs (Bonferroni). */
export function jointQuantile(judged: number, { looks = 1 }: Looks): number {
  return 1 - (1 - JOINT_CONFIDENCE) / 2 / judged / looks;
}
export function sameQuantile({ looks = 1 }: Looks): number {
  return 1 - (1 - SAME_CONFIDENCE) / 2 / looks;
}
type Looks = Pick<ComparisonBounds, 'looks'>;

/** Windows for an interval. Fewer do not show how they vary; more would be too short. */
export const MIN_WINDOWS = 5;
const JOINED_WINDOWS = 10;
const MAX_WINDOWS = 20;
/** Of fewer runs, the narrower of two intervals is too narrow by chance too often. */
const LEAST_PAIRED_RUNS = 5;

/** The mean difference of two sides and its standard error. */
interface Spread {
  readonly mean: number;
  readonly error: number;
  /** Degrees of freedom of the error. */
  readonly freedom: number;
  /** Standard deviation between runs of one side; null with one run of each. */
  readonly noise: number | null;
}

/** What varies: windows of one pair of runs, or several runs of each side. */
export interface Cut {
  /** The position after each part. */
  readonly ends: readonly number[];
  readonly isByRun: boolean;
}

/** One value of each side for every part of a cut. */
export interface Points {
  readonly a: readonly number[];
  readonly b: readonly number[];
}

/**
 * Cuts values at the ends of runs; a single run into windows of equal count.
 * @param least fewest values of a part
 * @returns null if there are too few
 */
export function cutOf(runEnds: readonly number[], least: number): Cut | null {
  if (runEnds.length > 1) {
    const isEnough = runEnds.every((end, at) => end - (runEnds[at - 1] ?? 0) >= least);
    return isEnough ? { ends: runEnds, isByRun: true } : null;
  }
  const values = runEnds[0] ?? 0;
  const windows = windowCount(values, least);
  const ends = Array.from({ length: windows }, (_, at) => windowEdges(values, windows, at)[1]);
  return windows === 0 ? null : { ends, isByRun: false };
}

/** The ends of runs among some positions, in ascending order. */
export function endsAmong(positions: Uint32Array, runEnds: readonly number[]): number[] {
  let kept = 0;
  return runEnds.map((end) => {
    while (kept < positions.length && positions[kept]! < end) kept += 1;
    return kept;
  });
}

/** The number of windows with at least `least` values: 20, 10, or 5 to 9; 0 if there would be fewer. */
export function windowCount(values: number, least: number): number {
  const most = Math.floor(values / least);
  if (most >= MAX_WINDOWS) return MAX_WINDOWS;
  if (most >= JOINED_WINDOWS) return JOINED_WINDOWS;
  return most < MIN_WINDOWS ? 0 : most;
}

/** First position of a window of equal count, and the first position after it. */
export function windowEdges(values: number, windows: number, at: number): readonly [number, number] {
  return [Math.floor((at * values) / windows), Math.floor(((at + 1) * values) / windows)];
}

/** Mean and standard error over windows, which count as independent. */
export function spreadOf(differences: readonly number[]): Spread {
  const { mean, variance } = momentsOf(differences);
  const error = Math.sqrt(variance / differences.length);
  return { mean, error, freedom: differences.length - 1, noise: null };
}

/**
 * The difference of the means of two sides, each with its own variance between runs: Welch (Biometrika 34, 1947), with
 * the degrees of freedom of Satterthwaite. From as many runs on as the narrower of two intervals counts, they are
 * rounded down, which widens this one a little.
 */
export function spreadOfRuns({ a, b }: Points): Spread {
  const [one, other] = [momentsOf(a), momentsOf(b)];
  const runs = a.length;
  const [sum, squares] = [one.variance + other.variance, one.variance ** 2 + other.variance ** 2];
  const freedom = (runs - 1) * (squares > 0 ? sum ** 2 / squares : 1);
  return {
    mean: other.mean - one.mean,
    error: Math.sqrt(sum / runs),
    freedom: runs < LEAST_PAIRED_RUNS ? freedom : Math.floor(freedom),
    noise: Math.sqrt(sum / 2),
  };
}

/**
 * Student's t between two whole degrees of freedom, in proportion to their reciprocals. The quantile is convex in the
 * reciprocal, so the result is not below the true one.
 */
export function studentTBetween(probability: number, freedom: number): number {
  const [below, above] = [Math.floor(freedom), Math.ceil(freedom)];
  if (below === above) return studentT(probability, below);
  const share = (1 / freedom - 1 / above) / (1 / below - 1 / above);
  return share * studentT(probability, below) + (1 - share) * studentT(probability, above);
}

function momentsOf(values: readonly number[]): { readonly mean: number; readonly variance: number } {
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  const squares = values.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return { mean, variance: squares / (values.length - 1) };
}

/**
 * Half the width of an interval, by Student's t over the windows or runs. The true value is beyond each end with
 * probability 1 − `probability`. Of the spreads over twenty windows and over ten joined ones, the wider counts: if
 * neighbours are dependent, joined windows vary more. Of the two over runs, the narrower counts: which of them it is
 * depends on the machine, and in simulations no more than 1 % of the comparisons of one build are wrong.
 */
export function halfWidth({ isByRun }: Cut, spreads: readonly Spread[], probability: number): number {
  const widths = spreads.map(({ error, freedom }) => studentTBetween(probability, freedom) * error);
  return isByRun ? Math.min(...widths) : Math.max(...widths);
}

/**
 * The spreads over the windows and, if there are twenty, also over ten joined ones; or those over the runs. If
 * neighbouring runs are alike, as on a machine that drifts, the differences of pairs vary less. If every run varies by
 * itself, two separate sides have more degrees of freedom.
 */
export function spreadsOver({ ends, isByRun }: Cut, pointsOf: (ends: readonly number[]) => Points): Spread[] {
  const joined = ends.filter((_, at) => at % 2 === 1);
  const paired = ({ a, b }: Points) => spreadOf(b.map((value, at) => value - a[at]!));
  if (!isByRun)
    return (ends.length === MAX_WINDOWS ? [ends, joined] : [ends]).map((each) => paired(pointsOf(each)));
  const points = pointsOf(ends);
  return [spreadOfRuns(points), ...(points.a.length < LEAST_PAIRED_RUNS ? [] : [paired(points)])];
}

/** A correlation below this counts as none. Lags grow by this factor. */
const NEGLIGIBLE = 0.03;
const LAG_GROWTH = 1.5;
/** A smaller variance is only rounding error. */
const NO_VARIANCE = 1e-18;
/** Longest lag as a share of all values. Longer lags leave too few values to compare. */
const MAX_LAG_SHARE = 0.25;

/**
 * How many neighbouring latencies depend on each other: the integrated autocorrelation time of their logarithms, 1 if
 * they are independent. In a queue it grows with 1 / (1 − load)². Correlations are computed at lags that grow by half,
 * up to the first negligible one, and interpolated. Missing values count as the greatest one.
 */
export function dependenceLength(values: Float64Array): number {
  return lengthOf(deviations(logsOf(values, greatestOf(values))));
}

/**
 * The dependence length of the ratios of two sides. A shared cause, such as the load over a day, makes latencies depend
 * on each other for hours, but it does not affect their ratios.
 */
export function ratioDependenceLength(a: Float64Array, b: Float64Array): number {
  const greatest = Math.max(greatestOf(a), greatestOf(b));
  const others = logsOf(a, greatest);
  return lengthOf(deviations(logsOf(b, greatest).map((each, at) => each - others[at]!)));
}

function lengthOf(logs: Float64Array): number {
  const count = logs.length;
  let variance = 0;
  for (const each of logs) variance += each * each;
  if (count < 8 || variance < count * NO_VARIANCE) return 1;
  let length = 0;
  let lastLag = 0;
  let lastCorrelation = 1;
  for (let lag = 1; lag < count * MAX_LAG_SHARE; lag = Math.max(lag + 1, Math.floor(lag * LAG_GROWTH))) {
    let product = 0;
    for (let at = lag; at < count; at++) product += logs[at]! * logs[at - lag]!;
    const correlation = ((product / variance) * count) / (count - lag);
    const isOver = correlation < NEGLIGIBLE;
    length += (lag - lastLag) * (lastCorrelation + (isOver ? 0 : correlation));
    if (isOver) break;
    lastLag = lag;
    lastCorrelation = correlation;
  }
  return Math.max(1, length);
}

function greatestOf(values: Float64Array): number {
  let greatest = 1;
  for (const value of values) if (value > greatest && Number.isFinite(value)) greatest = value;
  return greatest;
}

function logsOf(values: Float64Array, greatest: number): Float64Array {
  return values.map((value) => Math.log(Math.max(1, Math.min(greatest, value))));
}

/** Subtracts the mean, in place. */
function deviations(logs: Float64Array): Float64Array {
  let sum = 0;
  for (const each of logs) sum += each;
  const mean = logs.length === 0 ? 0 : sum / logs.length;
  for (let at = 0; at < logs.length; at++) logs[at]! -= mean;
  return logs;
}
