import { describe, expect, test } from 'vitest';
import { sampleFloor, WindowPercentiles } from '../../../src/analysis/stats/percentiles.ts';
import { SeededRandom } from '../../../src/core/random.ts';

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

/** `perSecond` values in each second, by a rule; spread evenly over it. */
function filled(
  seconds: number,
  perSecond: number,
  valueAt: (second: number, at: number) => number,
  originNs = 0,
) {
  const windows = new WindowPercentiles(originNs);
  for (let second = 0; second < seconds; second++) {
    for (let at = 0; at < perSecond; at++) {
      windows.record(originNs + second * S + (at / perSecond) * S, valueAt(second, at));
    }
  }
  return windows;
}

const intervalsOf = (windows: WindowPercentiles) => [50, 95, 99].map((percent) => windows.interval(percent));

describe('WindowPercentiles', () => {
  test('says nothing of a run without five windows, or whose windows hold too few samples', () => {
    expect(intervalsOf(filled(4, 1_000, () => MS))).toEqual([null, null, null]);
    const few = filled(10, 100, () => MS);
    expect(few.interval(95)).not.toBeNull();
    expect(few.interval(99)).toBeNull();
    expect(new WindowPercentiles().interval(50)).toBeNull();
  });

  test('is a point where every window is like the others', () => {
    const [low, high] = filled(10, 700, (_, at) => (at + 1) * 1_000).interval(99) ?? [0, 0];
    expect(high - low).toBeLessThan(1);
    expect(low).toBeGreaterThanOrEqual(693_000);
    expect(high).toBeLessThan(693_000 * (1 + 1 / 1024));
  });

  test('is wide where windows differ, and holds the percentile of the whole', () => {
    const steady = filled(10, 700, (_, at) => 10 * MS + at).interval(99) ?? [0, 0];
    const uneven = filled(10, 700, (second, at) => (second % 2 === 0 ? 10 : 20) * MS + at).interval(99) ?? [
      0, 0,
    ];
    expect(uneven[1] - uneven[0]).toBeGreaterThan(100 * (steady[1] - steady[0]));
    expect(uneven[0]).toBeLessThan(20 * MS);
    expect(uneven[1]).toBeGreaterThan(20 * MS);
  });

  test('is that of the text book: Student over ten windows, in logarithms, about the whole', () => {
    const windows = filled(10, 20, (second) => (second < 5 ? 1_000 : 2_000));
    // Half lie at 1,000 and half at 2,000: the median of the whole is 1,000, five windows are off by ln 2.
    const halfWidth = 2.262157162740992 * Math.sqrt((5 * Math.LN2 ** 2) / (10 * 9));
    const [low, high] = windows.interval(50) ?? [0, 0];
    expect(low).toBeCloseTo(1_000 * Math.exp(-halfWidth), 6);
    expect(high).toBeCloseTo(1_000 * Math.exp(halfWidth), 6);
  });

  test('joins windows of a long run at constant memory, whatever came first', () => {
    const forward = filled(500, 40, (second) => MS + second);
    const windows = new WindowPercentiles();
    for (let second = 499; second >= 0; second--) {
      for (let at = 0; at < 40; at++) windows.record(second * S + (at / 40) * S, MS + second);
    }
    expect(intervalsOf(windows)).toEqual(intervalsOf(forward));
    expect(forward.interval(99)).not.toBeNull();
  });

  test('counts windows from the begin of the judged part', () => {
    const moved = filled(10, 700, (second, at) => (second + 1) * MS + at, 77 * S);
    const unmoved = filled(10, 700, (second, at) => (second + 1) * MS + at);
    expect(intervalsOf(moved)).toEqual(intervalsOf(unmoved));
  });

  test('holds the true percentile about as often as it says', () => {
    const random = new SeededRandom(7);
    const exponential = () => Math.ceil(-Math.log(1 - random.below(2 ** 32) / 2 ** 32) * MS);
    let held = 0;
    const truth = Math.log(20) * MS;
    for (let run = 0; run < 40; run++) {
      const [low, high] = filled(10, 140, exponential).interval(95) ?? [0, 0];
      if (low <= truth && truth <= high) held += 1;
    }
    expect(held).toBeGreaterThanOrEqual(33);
  });
});
