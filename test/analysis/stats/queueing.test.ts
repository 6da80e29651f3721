import { describe, expect, test } from 'vitest';
import { upperBound, WindowPercentiles } from '../../../src/analysis/stats/percentiles.ts';
import { QueueSeries } from '../../../src/analysis/stats/queueing.ts';
import { Histogram } from '../../../src/core/histogram.ts';
import { drawnQueues, drawnRun, type RunParts } from '../../support/drawn-runs.ts';
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
const FEW_SEEDS = SEEDS.slice(0, 12);

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

test('too few requests say nothing of a queue, and the 4,097th takes nothing away of what the others say', () => {
  const { arrivals, latencies } = drawnRun({ ...PARTS, load: 0.95, requests: 8_192 }, 1);
  const ofCount = (requests: number) =>
    seriesOf(arrivals.subarray(0, requests), latencies.subarray(0, requests)).seen();
  expect(ofCount(19)).toBeNull();
  const kept = ofCount(4_096)!;
  expect(kept.states).toBeLessThan(35);
  expect(ofCount(4_097)!.states).toBeCloseTo(kept.states, 6);
  expect(ofCount(8_192)!.states).toBeCloseTo(kept.states, 6);
  expect(ofCount(8_192)!.samples).toBeCloseTo(2 * kept.samples, 6);
});

describe('some requests of a run', () => {
  /** One in ten, which finds a queue of all, or a queue of its own beside another that is near saturation. */
  const partOf = (isShared: boolean, seed: number) => {
    const [all, quiet] = [
      drawnRun({ ...PARTS, load: 0.95, requests: 2_000 }, seed),
      drawnRun({ ...PARTS, load: 0.5, requests: 1_000 }, seed + 100),
    ];
    const random = uniform(seed + 777);
    const picked = all.arrivals.map(() => (random() < 0.1 ? 1 : 0));
    const part = isShared
      ? {
          arrivals: all.arrivals.filter((_, at) => picked[at] === 1),
          latencies: all.latencies.filter((_, at) => picked[at] === 1),
        }
      : quiet;
    const [run, own] = [new WindowPercentiles(), new WindowPercentiles()];
    const ofRun = new WindowPercentiles(0, true, run);
    for (const { arrivals, latencies } of isShared ? [all] : [all, quiet])
      for (const [at, arrival] of arrivals.entries()) run.record(arrival * NS, latencies[at]! * NS);
    for (const [at, arrival] of part.arrivals.entries()) {
      own.record(arrival * NS, part.latencies[at]! * NS);
      ofRun.record(arrival * NS, part.latencies[at]! * NS);
    }
    const statesIn = (windows: WindowPercentiles) =>
      windows.independentSamples(95, 0.95, part.arrivals.length).queue!.states;
    return { alone: statesIn(own), withRun: statesIn(ofRun) };
  };

  test('see no more states of a queue than the run, though they see fewer in flight', () => {
    const drawn = FEW_SEEDS.map((seed) => partOf(true, seed));
    expect(drawn.filter(({ withRun }) => withRun < 35).length).toBeGreaterThanOrEqual(11);
    expect(drawn.filter(({ alone }) => alone < 35).length).toBeLessThanOrEqual(9);
  });

  test('see their own queue as it is beside one near saturation', () => {
    const drawn = FEW_SEEDS.map((seed) => partOf(false, seed));
    expect(drawn.filter(({ withRun }) => withRun >= 35).length).toBeGreaterThanOrEqual(11);
  });
});

describe('several queues', () => {
  const statesOfQueues = (taken: 'in turn' | 'at random', requests: number, seed: number) => {
    const parts = { queues: 4, taken, service: 'exponential', executors: 4, load: 0.95, requests } as const;
    const { arrivals, latencies } = drawnQueues(parts, seed);
    return seriesOf(arrivals, latencies).seen()!.states;
  };

  test('that take requests in turn are seen where neighbours are unlike', () => {
    const drawn = FEW_SEEDS.map((seed) => statesOfQueues('in turn', 700, seed));
    expect(drawn.filter((states) => states < 35).length).toBeGreaterThanOrEqual(11);
  });

  test('that take requests at random are seen in all places before a request together', () => {
    const drawn = FEW_SEEDS.map((seed) => statesOfQueues('at random', 1_500, seed));
    expect(drawn.filter((states) => states < 35).length).toBeGreaterThanOrEqual(11);
  });

  test('are not taken for kinds of requests that come in turn', () => {
    const none = SEEDS.filter((seed) => {
      const random = uniform(seed * 2 + 11);
      const arrivals = poissonArrivals(1_000, 200, uniform(seed * 2 + 12));
      const latencies = arrivals.map((_, at) => (at % 2 === 0 ? 0.1 : 1) * (0.8 + 0.4 * random()));
      return seriesOf(arrivals, latencies).seen()?.states === Number.POSITIVE_INFINITY;
    });
    expect(none.length).toBeGreaterThanOrEqual(34);
  });
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
