/** Correlation at which neighbours no longer count as such, and how fast lags grow. */
const NEGLIGIBLE = 0.03;
const LAG_GROWTH = 1.5;
/** Below it what varies is the rounding. */
const NO_VARIANCE = 1e-18;
/** Longer lags than this share of all values leave too few to compare. */
const MAX_LAG_SHARE = 0.25;

/**
 * Over how many neighbours latencies hang together: the integrated autocorrelation time of their logarithms, 1 for
 * independent ones. In a queue it grows with 1 / (1 − load)². Correlations are taken at lags that grow by half
 * and joined by straight lines, up to the first that is negligible. Values that never came count as the greatest.
 */
export function dependenceLength(values: Float64Array): number {
  return lengthOf(deviations(logsOf(values, greatestOf(values))));
}

/**
 * The same of the ratios of two sides. What both share, such as the load over a day, makes the latencies of each hang
 * together for hours, and says nothing of how the two differ.
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
