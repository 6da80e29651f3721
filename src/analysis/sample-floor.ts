/** How sure the floor is: MLPerf's early stopping tests at 99 %. */
const CONFIDENCE = 0.99;
/** Requests beyond the percentile that the fewest samples must still allow. */
const ALLOWED_OVER = 1;

/**
 * The fewest samples from which a percentile may be called kept: with n of them, and a true share beyond it of
 * just 1 − percentile, seeing at most one beyond has a chance of at most 1 %. This is the early-stopping test
 * of MLPerf LoadGen (mlcommons/inference, early_stopping) with one request over: 64 for p90, 130 for p95, 662
 * for p99, 6,636 for p99.9. Infinity for a percentile of 100, which no sample proves; 1 for 0.
 */
export function sampleFloor(percent: number): number {
  const below = percent / 100;
  if (below >= 1) return Number.POSITIVE_INFINITY;
  if (below <= 0) return 1;
  let enough = ALLOWED_OVER + 1;
  while (chanceOfFewOver(below, enough) > 1 - CONFIDENCE) enough *= 2;
  let short = ALLOWED_OVER;
  while (enough - short > 1) {
    const middle = Math.floor((short + enough) / 2);
    if (chanceOfFewOver(below, middle) > 1 - CONFIDENCE) short = middle;
    else enough = middle;
  }
  return enough;
}

/** Chance that none or one of `count` samples lies beyond, when each does with 1 − `below`. */
function chanceOfFewOver(below: number, count: number): number {
  return below ** count + count * (1 - below) * below ** (count - 1);
}
