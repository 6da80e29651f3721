import { describe, expect, test } from 'vitest';
import {
  fewest,
  sampleFloor,
  samplesNeeded,
  upperBound,
  WindowPercentiles,
} from '../../../src/analysis/stats/percentiles.ts';
import { Histogram } from '../../../src/core/histogram.ts';
import { uniform } from '../../support/queue-simulator.ts';

describe('sampleFloor', () => {
  test.each([
    [50, 11],
    [90, 64],
    [95, 130],
    [99, 662],
    [99.9, 6_636],
  ])('asks p(%d) for %d samples, as MLPerf early stopping does with one request over', (percent, floor) => {
    expect(sampleFloor(percent)).toBe(floor);
  });

  test('is the least count that passes the test', () => {
    const chance = (below: number, count: number) =>
      below ** count + count * (1 - below) * below ** (count - 1);
    for (const percent of [10, 75, 97.5, 99.5, 99.99]) {
      const floor = sampleFloor(percent);
      expect(chance(percent / 100, floor)).toBeLessThanOrEqual(0.01 + 1e-12);
      expect(chance(percent / 100, floor - 1)).toBeGreaterThan(0.01);
    }
  });

  test('no sample proves a maximum', () => {
    expect(sampleFloor(100)).toBe(Number.POSITIVE_INFINITY);
    expect(sampleFloor(0)).toBe(1);
  });
});

const S = 1e9;
const MS = 1e6;

/** A run of so many values, one each hundredth of a second. */
function runOf(count: number, valueAt: (at: number) => number, originNs = 0) {
  const windows = new WindowPercentiles(originNs);
  const whole = new Histogram();
  for (let at = 0; at < count; at++) {
    windows.record(originNs + (at / 100) * S, valueAt(at));
    whole.record(valueAt(at));
  }
  return { windows, whole, intervalOf: (percent: number) => windows.interval(percent, whole) };
}

/** From 0 to 999, independent of each other. */
const random = uniform(11);
const DRAWN = Array.from({ length: 50_000 }, () => Math.floor(random() * 1_000));
const sprinkled = (at: number) => DRAWN[at]!;

describe('WindowPercentiles', () => {
  test('says nothing of a run whose samples cannot bound a percentile', () => {
    expect(runOf(19, sprinkled).intervalOf(50)).toBeNull();
    expect(runOf(200, sprinkled).intervalOf(50)).not.toBeNull();
    expect(runOf(400, sprinkled).intervalOf(95)).not.toBeNull();
    expect(runOf(300, sprinkled).intervalOf(99)).toBeNull();
    expect(runOf(0, sprinkled).intervalOf(50)).toBeNull();
  });

  test('is that of the text book where samples are independent: order statistics by the binomial distribution', () => {
    // Of 1,000 samples 936 to 963 lie below p95 with 95 %.
    const run = runOf(1_000, (at) => ((at * 7_919) % 1_000) * 1_000);
    expect(run.windows.independentSamples(95, 0.975, 1_000)).toMatchObject({ own: 1_000, body: 1_000 });
    const [low, high] = run.intervalOf(95) ?? [0, 0];
    expect(low / 1_000).toBeCloseTo(935, -0.5);
    expect(high / 1_000).toBeCloseTo(963, -0.5);
  });

  test('counts as few samples what comes slow in clusters', () => {
    const clustered = (at: number) => (at % 1_000 < 100 ? 50 * MS : MS + sprinkled(at));
    const { windows } = runOf(4_000, clustered);
    expect(fewest(windows.independentSamples(95, 0.95, 4_000))).toBeLessThan(100);
    const scattered = runOf(4_000, (at) => (sprinkled(at) < 100 ? 50 * MS : MS));
    expect(fewest(scattered.windows.independentSamples(95, 0.95, 4_000))).toBeGreaterThan(1_000);
  });

  test('takes a drift of the run for dependence, too', () => {
    const drifting = runOf(4_000, (at) => 10 * MS + at * 1_000 + sprinkled(at));
    expect(drifting.windows.independentSamples(50, 0.95, 4_000).own).toBeLessThan(20);
    expect(drifting.intervalOf(50)).toBeNull();
  });

  test('is the same whatever came first, and from the begin of the judged part', () => {
    const count = 50_000;
    const valueAt = (at: number) => MS + sprinkled(at) * 1_000 + Math.floor(at / 5_000) * 500;
    const forward = runOf(count, valueAt);
    const windows = new WindowPercentiles();
    for (let at = count - 1; at >= 0; at--) windows.record((at / 100) * S, valueAt(at));
    const moved = runOf(count, valueAt, 77 * S);
    for (const percent of [50, 95, 99]) {
      const interval = forward.intervalOf(percent);
      expect(interval).not.toBeNull();
      expect(windows.interval(percent, forward.whole)).toEqual(interval);
      expect(moved.intervalOf(percent)).toEqual(interval);
    }
  });

  test('bounds a percentile by nothing where too many never came', () => {
    const { whole } = runOf(1_000, sprinkled);
    const all = { own: 1_000, body: 1_000, queue: null };
    expect(upperBound(95, 0.95, all, whole, 20)).toBeLessThan(1_000);
    expect(upperBound(95, 0.95, all, whole, 50)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('an upper bound from few independent samples', () => {
  const { whole } = runOf(1_000, (at) => 100 + sprinkled(at));
  const [max, slow, fast] = [whole.max ?? 0, whole.percentile(90) ?? 0, whole.percentile(5) ?? 0];

  test('is the greatest value where only slow ones come in clusters', () => {
    expect(upperBound(95, 0.95, { own: 20, body: 1_000, queue: null }, whole)).toBe(max);
    expect(upperBound(95, 0.95, { own: 1, body: 1_000, queue: null }, whole)).toBe(max);
  });

  test('is over it by as much as the body spreads where that clusters too', () => {
    const samples = { own: 1_000, body: 20, queue: null };
    expect(upperBound(95, 0.95, samples, whole)).toBeCloseTo(max * (slow / fast));
    const calm = { ...samples, queue: { states: 34, samples: 20 } };
    expect(upperBound(95, 0.95, calm, whole)).toBeCloseTo(max * (slow / fast));
    expect(upperBound(95, 0.95, samples, whole, 1)).toBe(Number.POSITIVE_INFINITY);
  });
});

test('follows an exponential tail beyond the greatest value where enough states of a queue were seen', () => {
  const { whole } = runOf(1_000, (at) => 100 + sprinkled(at));
  const [max, median] = [whole.max ?? 0, whole.percentile(50) ?? 0];
  const boundBy = (body: number) =>
    upperBound(99, 0.95, { own: 1_000, body, queue: { states: 35, samples: 1_000 } }, whole);
  // 100 samples bound p(97.05) by their greatest value; p99 lies ln(2.95 %/1 %) mean excesses beyond.
  expect(boundBy(100)).toBeCloseTo(max + ((max - median) * Math.log(2.951)) / Math.log(50), 0);
  expect(boundBy(40)).toBeGreaterThan(boundBy(100));
});

test('says how many samples would show a percentile below its limit, if any do', () => {
  expect(samplesNeeded(95, 0.95, 0)).toBe(59);
  expect(samplesNeeded(95, 0.95, 0.04)).toBeGreaterThan(1_000);
  expect(samplesNeeded(95, 0.95, 0.051)).toBe(Number.POSITIVE_INFINITY);
});
