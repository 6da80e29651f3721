import { createHistogram } from 'node:perf_hooks';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Histogram, nearestRank } from '../../src/core/histogram.ts';
import { repeated } from '../support/long-form.ts';

function histogramOf(values: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

/** Percentile by sorting: the truth. */
function exactPercentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(1, Math.ceil((percent * values.length) / 100 - 1e-9)) - 1] as number;
}

const values = fc.array(fc.oneof(fc.nat(3_000), fc.nat(2 ** 31 - 1), fc.integer({ min: 0, max: 2 ** 46 })), {
  minLength: 1,
  maxLength: 300,
});
const percents = fc.constantFrom(1, 10, 50, 90, 95, 99, 99.9, 100);

describe('Histogram', () => {
  test('never understates a percentile and overstates it by at most one part in 1024', () => {
    fc.assert(
      fc.property(values, percents, (all, percent) => {
        const exact = exactPercentile(all, percent);
        const counted = histogramOf(all).percentile(percent) as number;
        expect(counted).toBeGreaterThanOrEqual(exact);
        expect(counted).toBeLessThanOrEqual(exact * (1 + 1 / 1024));
      }),
    );
  });

  test('merging equals recording everything in one', () => {
    fc.assert(
      fc.property(values, values, (left, right) => {
        const merged = histogramOf(left);
        merged.merge(histogramOf(right));
        const together = histogramOf([...left, ...right]);
        expect([...merged.bins()]).toEqual([...together.bins()]);
        expect([merged.count, merged.min, merged.max]).toEqual([together.count, together.min, together.max]);
        expect(merged.mean).toBeCloseTo(together.mean as number, 3);
        expect(merged.percentile(95)).toBe(together.percentile(95));
      }),
    );
  });

  test('keeps count, least, greatest and mean exactly', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1_000_000_000), { minLength: 1, maxLength: 100 }), (all) => {
        const histogram = histogramOf(all);
        expect(histogram.count).toBe(all.length);
        expect(histogram.min).toBe(Math.min(...all));
        expect(histogram.max).toBe(Math.max(...all));
        expect(histogram.mean).toBe(all.reduce((sum, each) => sum + each, 0) / all.length);
      }),
    );
  });

  test('agrees with the histogram of the runtime', () => {
    const native = createHistogram({ lowest: 1, highest: 2 ** 40, figures: 3 });
    const ours = new Histogram();
    for (let at = 1; at <= 5_000; at++) {
      const value = (at * 7_919) % 1_000_003;
      native.record(value + 1);
      ours.record(value + 1);
    }
    for (const percent of [1, 25, 50, 75, 90, 99, 99.9]) {
      expect(ours.percentile(percent)).toBe(native.percentile(percent));
    }
  });

  test('counts infinite values after every recorded one', () => {
    const histogram = histogramOf([10, 20, 30]);
    expect(histogram.percentile(50, 0)).toBe(20);
    expect(histogram.percentile(60, 1)).toBe(30);
    expect(histogram.percentile(75, 1)).toBe(30);
    expect(histogram.percentile(76, 1)).toBe(Number.POSITIVE_INFINITY);
    expect(new Histogram().percentile(50, 3)).toBe(Number.POSITIVE_INFINITY);
  });

  test('finds every rank of small exact values, with and without infinite ones behind them', () => {
    const histogram = new Histogram();
    for (let count = 1; count <= repeated(120, 500); count++) {
      histogram.record(count);
      for (let rank = 1; rank <= count; rank++) {
        const percent = (100 * (rank - 0.25)) / (count + 3);
        expect(histogram.percentile(percent, 3)).toBe(rank);
      }
    }
  });

  test('says nothing of nothing', () => {
    const histogram = new Histogram();
    expect([histogram.count, histogram.min, histogram.max, histogram.mean]).toEqual([0, null, null, null]);
    expect(histogram.percentile(99)).toBeNull();
    expect([...histogram.bins()]).toEqual([]);
  });

  test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses to count %d', (value) => {
    expect(() => new Histogram().record(value)).toThrow(RangeError);
  });

  test('keeps the true maximum of values beyond its range', () => {
    const histogram = histogramOf([5, 2 ** 50]);
    expect(histogram.max).toBe(2 ** 50);
    expect(histogram.percentile(100)).toBe(2 ** 50);
  });
});

describe('nearestRank', () => {
  test('is not moved by floating point', () => {
    expect(nearestRank(99.9, 1_000)).toBe(999);
    expect(nearestRank(99, 100)).toBe(99);
    expect(nearestRank(99, 101)).toBe(100);
    expect(nearestRank(50, 1)).toBe(1);
    expect(nearestRank(0.1, 10)).toBe(1);
    expect(nearestRank(100, 7)).toBe(7);
    // 99.9 × 41,000 ÷ 100 is 40,959.00000000001 in floating point.
    expect(nearestRank(99.9, 41_000)).toBe(40_959);
  });
});

test('a count is never cut at 32 bits', () => {
  const histogram = new Histogram();
  for (const value of [5, 5, 70_000]) histogram.record(value, 2 ** 32 - 1);
  const copy = new Histogram();
  copy.merge(histogram);
  for (const each of [histogram, copy]) {
    expect(each.count).toBe(3 * (2 ** 32 - 1));
    expect([...each.bins()].map(({ count }) => count)).toEqual([2 * (2 ** 32 - 1), 2 ** 32 - 1]);
    expect(each.percentile(66)).toBe(5);
  }
});
