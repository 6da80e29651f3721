/** What was found of one metric. */
export type MetricVerdict = 'better' | 'same' | 'worse' | 'undecided';

export type Bounds = readonly [low: number, high: number];

/**
 * Why a metric is undecided that more pairs would not tell: neither side has an answer at its percentile, or what is
 * told of it does not hold without how late we sent.
 */
export type MetricDoubt = 'no_answer' | 'our_lag';
