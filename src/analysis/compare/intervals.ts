import { studentT } from '../stats/percentiles.ts';

/** Probability that all intervals hold together. The rest is divided equally between their two ends. */
export const JOINT_CONFIDENCE = 0.99;
/** Confidence of the interval that shows the absence of a change, per metric (two one-sided tests of 5 %). */
export const SAME_CONFIDENCE = 0.9;

/** Windows an interval is made of: fewer say nothing of how they vary, more are too short. */
export const MIN_WINDOWS = 5;
const JOINED_WINDOWS = 10;
const MAX_WINDOWS = 20;

/** What the differences of some windows come to. */
interface WindowSpread {
  readonly mean: number;
  /** Standard error of the mean. */
  readonly error: number;
  readonly windows: number;
}

/** How many windows of at least `least` values there are: 20, 10, or 5 to 9; 0 for fewer. */
export function windowCount(values: number, least: number): number {
  const most = Math.floor(values / least);
  if (most >= MAX_WINDOWS) return MAX_WINDOWS;
  if (most >= JOINED_WINDOWS) return JOINED_WINDOWS;
  return most < MIN_WINDOWS ? 0 : most;
}

/** First position of a window of equal count, and the first behind it. */
export function windowEdges(values: number, windows: number, at: number): readonly [number, number] {
  return [Math.floor((at * values) / windows), Math.floor(((at + 1) * values) / windows)];
}

/** Mean and standard error over windows, as if they were independent. */
export function spreadOf(differences: readonly number[]): WindowSpread {
  const windows = differences.length;
  const mean = differences.reduce((sum, each) => sum + each, 0) / windows;
  const squares = differences.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return { mean, error: Math.sqrt(squares / (windows * (windows - 1))), windows };
}

/**
 * Half the width of an interval; the truth lies beyond each of its ends with 1 − `probability`. Student's t over the
 * windows. Of twenty windows and of ten joined ones the wider result counts: dependent neighbours vary more if joined.
 */
export function halfWidth(spreads: readonly WindowSpread[], probability: number): number {
  return spreads.reduce(
    (most, { error, windows }) => Math.max(most, studentT(probability, windows - 1) * error),
    0,
  );
}

/** The same differences over the windows, and over joined ones where there are twenty. */
export function spreadsOver(windows: number, differencesOf: (windows: number) => number[]): WindowSpread[] {
  const counts = windows === MAX_WINDOWS ? [MAX_WINDOWS, JOINED_WINDOWS] : [windows];
  return counts.map((count) => spreadOf(differencesOf(count)));
}

/** Correlation at which neighbours no longer count as such, and how fast lags grow. */
const NEGLIGIBLE = 0.03;
const LAG_GROWTH = 1.5;
/** Below it what varies is the rounding. */
const NO_VARIANCE = 1e-18;
/** Longer lags than this share of all values leave too few to compare. */
const MAX_LAG_SHARE = 0.25;

/**
 * Over how many neighbours latencies depend on each other: the integrated autocorrelation time of their logarithms, 1
 * for independent ones. In a queue it grows with 1 / (1 − load)². Correlations are taken at lags that grow by half, up
 * to the first negligible one, and interpolated. Values that never came count as the greatest.
 */
export function dependenceLength(values: Float64Array): number {
  return lengthOf(deviations(logsOf(values, greatestOf(values))));
}

/**
 * The same for the ratios of two sides. A shared cause, such as the load over a day, makes latencies depend on each
 * other for hours, but does not show in how the two sides differ.
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

/** From their mean, in place. */
function deviations(logs: Float64Array): Float64Array {
  let sum = 0;
  for (const each of logs) sum += each;
  const mean = logs.length === 0 ? 0 : sum / logs.length;
  for (let at = 0; at < logs.length; at++) logs[at]! -= mean;
  return logs;
}
