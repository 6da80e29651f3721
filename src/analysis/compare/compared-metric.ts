/** What was found of one metric. */
export type MetricVerdict = 'better' | 'same' | 'worse' | 'undecided';

export type Bounds = readonly [low: number, high: number];

/**
 * Why a metric is undecided that more pairs would not tell: neither side has an answer at its percentile, or what is
 * told of it does not hold without how late we sent.
 */
export type MetricDoubt = 'no_answer' | 'our_lag';

/** One metric of a comparison. Of latencies `ratio` and its intervals are B ÷ A; of shares they are B − A. */
export interface ComparedMetric {
  readonly name: string;
  /** `ms` for latencies, `share` (0 to 1) for parts of all requests. */
  readonly unit: 'ms' | 'share';
  /** Over all pairs; `"Infinity"` where too many requests had no answer. */
  readonly a: number | 'Infinity' | null;
  readonly b: number | 'Infinity' | null;
  /** B ÷ A: of a latency the mean over paired windows of its logarithm; of a share null where A has none. */
  readonly ratio: number | null;
  /** The same of times from when we sent each request; null where nothing was late, and of what that does not touch. */
  readonly ratioLessLag: number | null;
  /** B − A of a share; null for a latency. */
  readonly difference: number | null;
  /** The truth of all metrics lies in these together with 99 %: of the ratio, or of the difference of shares. */
  readonly interval: Bounds | null;
  /** The truth of this metric alone lies here with 90 %: by it SAME is told. */
  readonly interval90: Bounds | null;
  /** Hodges–Lehmann estimate over the windows: a ratio, or a difference of shares. */
  readonly shift: number | null;
  readonly windows: number;
  readonly pairs: number;
  /** Of these: neither side has an answer at the percentile. */
  readonly blindWindows: number;
  readonly verdict: MetricVerdict;
  /** Null where it was told, or more pairs would tell. */
  readonly doubt: MetricDoubt | null;
  /** Whether SAME needs it. */
  readonly required: boolean;
  /** Pairs from which it can probably be told; null where it was, and where pairs do not help. */
  readonly pairsNeeded: number | null;
}
