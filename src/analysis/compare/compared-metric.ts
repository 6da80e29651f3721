/** What was found of one metric. */
export type MetricVerdict = 'better' | 'same' | 'worse' | 'undecided';

export type Bounds = readonly [low: number, high: number];
