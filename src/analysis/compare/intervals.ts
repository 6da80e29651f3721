import { studentT } from '../stats/percentiles.ts';

/** Probability that all intervals hold together. The error is divided equally between their two ends. */
export const JOINT_CONFIDENCE = 0.99;
/** Confidence of the interval that shows the absence of a change, per metric (two one-sided tests of 5 %). */
export const SAME_CONFIDENCE = 0.9;

/** Windows for an interval. Fewer do not show how they vary; more would be too short. */
export const MIN_WINDOWS = 5;
const JOINED_WINDOWS = 10;
const MAX_WINDOWS = 20;

/** Mean and standard error of the differences of windows. */
interface WindowSpread {
  readonly mean: number;
  /** Standard error of the mean. */
  readonly error: number;
  readonly windows: number;
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
export function spreadOf(differences: readonly number[]): WindowSpread {
  const windows = differences.length;
  const mean = differences.reduce((sum, each) => sum + each, 0) / windows;
  const squares = differences.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return { mean, error: Math.sqrt(squares / (windows * (windows - 1))), windows };
}

/**
 * Half the width of an interval, by Student's t over the windows. The true value is beyond each end with probability 1
 * − `probability`. Of the spreads over twenty windows and over ten joined ones, the wider counts: if neighbours are
 * dependent, joined windows vary more.
 */
export function halfWidth(spreads: readonly WindowSpread[], probability: number): number {
  return spreads.reduce(
    (most, { error, windows }) => Math.max(most, studentT(probability, windows - 1) * error),
    0,
  );
}

/** The spread of differences over the windows and, if there are twenty, also over ten joined ones. */
export function spreadsOver(windows: number, differencesOf: (windows: number) => number[]): WindowSpread[] {
  const counts = windows === MAX_WINDOWS ? [MAX_WINDOWS, JOINED_WINDOWS] : [windows];
  return counts.map((count) => spreadOf(differencesOf(count)));
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
