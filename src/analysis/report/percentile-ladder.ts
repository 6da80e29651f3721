import type { Histogram } from '../../core/histogram.ts';
import type { PercentileLadder } from '../../documents/report.ts';
import { sampleFloor } from '../stats/percentiles.ts';

/** What a launch review reads, from the middle to the far tail. */
export const LADDER_PERCENTS = [50, 75, 90, 95, 99, 99.9, 99.99] as const;

const NS_PER_MS = 1e6;

export interface PercentileStep {
  readonly percent: number;
  /** Milliseconds; null where nothing was measured. */
  readonly ms: number | null;
  /** The fewest samples from which it can be trusted (`sampleFloor`), and whether there are as many. */
  readonly samplesNeeded: number;
  readonly enough: boolean;
}

const FLOORS: ReadonlyMap<number, number> = new Map(
  LADDER_PERCENTS.map((percent) => [percent, sampleFloor(percent)]),
);

/** @param histogram of nanoseconds; null for nothing */
export function ladderOf(histogram: Histogram | null): PercentileLadder {
  const count = histogram?.count ?? 0;
  const inMs = (ns: number | null | undefined) => (ns == null ? null : ns / NS_PER_MS);
  return {
    count,
    meanMs: inMs(histogram?.mean),
    maxMs: inMs(histogram?.max),
    steps: LADDER_PERCENTS.map((percent) => {
      const samplesNeeded = FLOORS.get(percent) ?? Number.POSITIVE_INFINITY;
      return {
        percent,
        ms: inMs(histogram?.percentile(percent)),
        samplesNeeded,
        enough: count >= samplesNeeded,
      };
    }),
  };
}
