import type { Histogram } from '../core/histogram.ts';
import type { LagUs, LatencyMs, TrustedLatencyMs } from '../documents/replay.ts';
import type { Interval, PercentileIntervals } from './window-percentiles.ts';

const NS_PER_US = 1e3;
const NS_PER_MS = 1e6;

/** Percentiles of what was recorded in nanoseconds: requests that completed, and no others. */
export function latencyMs(histogram: Histogram): LatencyMs {
  const inMs = (ns: number | null) => (ns === null ? null : ns / NS_PER_MS);
  return {
    p50: inMs(histogram.percentile(50)),
    p95: inMs(histogram.percentile(95)),
    p99: inMs(histogram.percentile(99)),
    max: inMs(histogram.max),
  };
}

/** The same with the intervals of a run's percentiles. */
export function trustedLatencyMs(histogram: Histogram, intervals: PercentileIntervals): TrustedLatencyMs {
  const inMs = (interval: Interval | null): Interval | null =>
    interval === null ? null : [interval[0] / NS_PER_MS, interval[1] / NS_PER_MS];
  return {
    ...latencyMs(histogram),
    p50Interval: inMs(intervals.p50),
    p95Interval: inMs(intervals.p95),
    p99Interval: inMs(intervals.p99),
  };
}

/** Percentiles of how late requests left, of everything that was sent. */
export function lagUs(histogram: Histogram): LagUs {
  const inUs = (ns: number | null) => (ns === null ? null : ns / NS_PER_US);
  return {
    p50: inUs(histogram.percentile(50)),
    p90: inUs(histogram.percentile(90)),
    p99: inUs(histogram.percentile(99)),
    max: inUs(histogram.max),
  };
}
