import type { ComparisonBounds } from '../../documents/comparison.ts';

/** What was found of one metric. */
export type MetricVerdict = 'better' | 'same' | 'worse' | 'undecided';

export type Bounds = readonly [low: number, high: number];

export const COMPARISON_BOUNDS: ComparisonBounds = Object.freeze({
  floor: 0.05,
  detect: 0.2,
  failureFloor: 0.005,
});

/** All intervals hold together with this probability; a side is outside with half of what is left. */
export const JOINT_CONFIDENCE = 0.99;
/** Confidence of the interval that shows the absence of a change, per metric (two one-sided tests of 5 %). */
export const SAME_CONFIDENCE = 0.9;
/** Windows hold at least so many times what hangs together. */
export const WINDOW_TO_DEPENDENCE = 6;

/** What hangs together is no longer than so many times that of the ratios: a swing that both sides share is no doubt. */
export const DEPENDENCE_TO_RATIOS = 3;
/** SAME needs what streams and checked answers say where these are at least this share of all pairs. */
export const SMALL_PART = 0.1;

/** Latency percentiles that are judged, and the fewest pairs of a window: MLPerf's floor, for p50 more than that. */
export const JUDGED_PERCENTILES = [
  { percent: 50, leastPairs: 30, required: true },
  { percent: 95, leastPairs: 130, required: true },
  { percent: 99, leastPairs: 662, required: false },
] as const;
