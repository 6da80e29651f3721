import { describe, expect, test } from 'vitest';
import { upperBound, WindowPercentiles } from '../../../src/analysis/stats/percentiles.ts';
import { QueueSeries } from '../../../src/analysis/stats/queueing.ts';
import { Histogram } from '../../../src/core/histogram.ts';
import { drawnRun, type RunParts } from '../../support/drawn-runs.ts';
import { poissonArrivals, uniform } from '../../support/queue-simulator.ts';

const NS = 1e8;
const PARTS = { arrivals: 'poisson', service: 'exponential', executors: 4 } as const;

function seriesOf(arrivals: Float64Array, latencies: Float64Array, backwards = false): QueueSeries {
  const series = new QueueSeries();
  const order = [...arrivals.keys()];
  for (const at of backwards ? order.reverse() : order)
    series.record(arrivals[at]! * NS, latencies[at]! * NS);
  return series;
}

function statesOf(parts: Pick<RunParts, 'load' | 'requests'>, seed: number): number {
  const { arrivals, latencies } = drawnRun({ ...PARTS, ...parts }, seed);
  return seriesOf(arrivals, latencies).seen()?.states ?? Number.NaN;
}

const SEEDS = Array.from({ length: 40 }, (_, at) => at + 1);

describe('a short run sees few states of a queue near saturation', () => {
  test('and more of one that is half loaded, or none at all', () => {
    const few = (load: number, requests: number) =>
      SEEDS.filter((seed) => statesOf({ load, requests }, seed) < 35).length;
    expect(few(0.95, 200)).toBeGreaterThanOrEqual(38);
    expect(few(0.95, 700)).toBeGreaterThanOrEqual(38);
    expect(few(0.5, 700)).toBeLessThanOrEqual(2);
  });

  test('whatever order its requests end in', () => {
    const { arrivals, latencies } = drawnRun({ ...PARTS, load: 0.8, requests: 700 }, 3);
    expect(seriesOf(arrivals, latencies, true).seen()).toEqual(seriesOf(arrivals, latencies).seen());
  });
});

test('many requests in flight are no queue where none waits for another', () => {
  const random = uniform(5);
  const arrivals = poissonArrivals(1_000, 200, uniform(6));
  // Two hundred at once, each for as long as it likes.
  const latencies = arrivals.map(() => 0.5 + random());
  expect(seriesOf(arrivals, latencies).seen()?.states).toBe(Number.POSITIVE_INFINITY);
  const windows = new WindowPercentiles();
  const whole = new Histogram();
  for (const [at, latency] of latencies.entries()) {
    windows.record(arrivals[at]! * NS, Math.round(latency * NS));
    whole.record(Math.round(latency * NS));
  }
  const bound = upperBound(95, 0.95, windows.independentSamples(95, 0.95, whole.count), whole);
  expect(bound).toBeLessThan(2 * (whole.percentile(95) ?? 0));
});

test('too few requests say nothing of a queue, and too many are not kept', () => {
  const ofCount = (requests: number) => {
    const { arrivals, latencies } = drawnRun({ ...PARTS, load: 0.8, requests }, 1);
    return seriesOf(arrivals, latencies).seen();
  };
  expect(ofCount(19)).toBeNull();
  expect(ofCount(4_096)).not.toBeNull();
  expect(ofCount(4_097)).toBeNull();
});

test('answers that all take the same are no queue', () => {
  const arrivals = poissonArrivals(300, 10, uniform(9));
  expect(
    seriesOf(
      arrivals,
      arrivals.map(() => 0.02),
    ).seen()?.samples,
  ).toBe(Number.POSITIVE_INFINITY);
});
