import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  gapDistance,
  MixDistance,
  sizeClassOf,
  TIMER_ERROR_NS,
} from '../../../src/analysis/stats/distance.ts';
import { Histogram } from '../../../src/core/histogram.ts';
import { SeededRandom } from '../../../src/core/random.ts';

function histogramOf(values: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

/** The distance by definition: both distribution functions at every value of either. */
function exactDistance(a: readonly number[], b: readonly number[]): number {
  const scaled = (values: readonly number[]) => {
    const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
    return values.map((each) => each / mean).sort((x, y) => x - y);
  };
  const [left, right] = [scaled(a), scaled(b)];
  const share = (values: readonly number[], x: number) => {
    let low = 0;
    let high = values.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((values[middle] as number) <= x) low = middle + 1;
      else high = middle;
    }
    return low / values.length;
  };
  return Math.max(...[...left, ...right].map((x) => Math.abs(share(left, x) - share(right, x))));
}

function exponential(count: number, meanTicks: number, seed: number): number[] {
  const random = new SeededRandom(seed);
  return Array.from({ length: count }, () =>
    Math.round(-Math.log((random.below(1e9) + 1) / 1e9) * meanTicks),
  );
}

const gaps = fc.array(fc.oneof(fc.nat(50), fc.nat(5_000_000)), { minLength: 2, maxLength: 200 });
const scale = fc.constantFrom(0.1, 0.5, 1, 1.5, 2, 3.7);

describe('gapDistance', () => {
  test('never exceeds the exact distance', () => {
    fc.assert(
      fc.property(gaps, gaps, (a, b) => {
        fc.pre(a.some((gap) => gap > 0) && b.some((gap) => gap > 0));
        const distance = gapDistance(histogramOf(a), histogramOf(b)) as number;
        expect(distance).toBeLessThanOrEqual(exactDistance(a, b) + 1e-12);
        expect(distance).toBeGreaterThanOrEqual(0);
        expect(distance).toBe(gapDistance(histogramOf(b), histogramOf(a)));
      }),
    );
  });

  test('is 0 for the same shape at another speed, in another unit, ties and all', () => {
    fc.assert(
      fc.property(gaps, scale, (a, multiplier) => {
        fc.pre(a.some((gap) => gap > 0));
        let at = 0;
        let plannedBefore = 0;
        const planned = a.map((gap) => {
          at += gap;
          const offsetNs = Math.round((at * 1_000) / multiplier);
          const plannedGap = offsetNs - plannedBefore;
          plannedBefore = offsetNs;
          return plannedGap;
        });
        expect(gapDistance(histogramOf(a), histogramOf(planned))).toBe(0);
      }),
    );
  });

  test('is within 0.01 of the exact distance of smooth distributions', () => {
    const poisson = exponential(5_000, 100_000, 1);
    const steady = poisson.map((_, at) => 90_000 + (at % 20_000));
    const mixed = exponential(5_000, 100_000, 2).map((gap, at) => (at % 3 === 0 ? gap * 10 : gap));
    for (const other of [steady, mixed, exponential(5_000, 30_000, 3)]) {
      const distance = gapDistance(histogramOf(poisson), histogramOf(other)) as number;
      expect(Math.abs(distance - exactDistance(poisson, other))).toBeLessThan(0.01);
    }
  });

  test('is not thrown by a hair between two means', () => {
    const even = Array.from({ length: 1_000 }, () => 10_000_000);
    // One gap of double length moves the mean by 0.1 %, and with it every other gap.
    const almost = [...even.slice(1), 20_000_000];
    expect(exactDistance(even, almost)).toBeGreaterThan(0.99);
    expect(gapDistance(histogramOf(even), histogramOf(almost))).toBeCloseTo(0.001, 9);
  });

  test('is not thrown by whole ticks', () => {
    // 1 µs at 3.7x is 270.27 ns: three gaps of 270 ns and one of 271.
    const recorded = Array.from({ length: 1_000 }, (_, at) => (at % 2 === 0 ? 1 : 100_000));
    const planned = recorded.map((gap, at) => (gap === 1 ? (at % 8 === 0 ? 271 : 270) : 27_027_027));
    expect(gapDistance(histogramOf(recorded), histogramOf(planned))).toBe(0);
  });

  test('sees that ties were pulled apart', () => {
    const tied = [0, 1_000, 0, 1_000, 0, 1_000];
    const apart = tied.map((gap) => (gap === 0 ? 100 : 900));
    expect(gapDistance(histogramOf(tied), histogramOf(apart))).toBeCloseTo(0.5, 12);
  });

  test('of sends knows ties that left within the error of a timer, and nothing coarser', () => {
    // Nine of ten arrive at the instant of the one before them.
    const planned = Array.from({ length: 1_000 }, (_, at) => (at % 10 === 0 ? 1e9 : 0));
    const sentBy = (errorNs: number) => planned.map((gap) => gap + (gap === 0 ? errorNs : -9 * errorNs));
    const distance = (errorNs: number) =>
      gapDistance(histogramOf(planned), histogramOf(sentBy(errorNs)), TIMER_ERROR_NS);
    expect(gapDistance(histogramOf(planned), histogramOf(sentBy(350_000)))).toBeCloseTo(0.9, 6);
    expect(distance(350_000)).toBe(0);
    expect(distance(5e6)).toBeCloseTo(0.9, 6);
  });

  test('of sends never exceeds the distance without the error, and grows no sharper with it', () => {
    fc.assert(
      fc.property(gaps, gaps, fc.nat(1_000_000), (a, b, error) => {
        const exact = gapDistance(histogramOf(a), histogramOf(b));
        const tolerant = gapDistance(histogramOf(a), histogramOf(b), error);
        fc.pre(exact !== null && tolerant !== null);
        expect(tolerant).toBeLessThanOrEqual(exact);
      }),
    );
  });

  test('of sends is 0 for whatever was sent less than the error late', () => {
    const lags = fc.array(fc.nat(499_999), { minLength: 200, maxLength: 200 });
    fc.assert(
      fc.property(gaps, lags, (drawn, late) => {
        let at = 0;
        let lastSent = 0;
        const planned = drawn.map((gap) => gap * 1_000 + (gap % 3 === 0 ? 0 : 4_000_000));
        const sent = planned.map((gap, index) => {
          at += gap;
          const gapNs = Math.max(0, at + late[index]! - lastSent);
          lastSent = Math.max(lastSent, at + late[index]!);
          return gapNs;
        });
        const distance = gapDistance(histogramOf(planned), histogramOf(sent), TIMER_ERROR_NS);
        expect(distance ?? 0).toBe(0);
      }),
    );
  });

  test('of sends has no answer where gaps are hardly longer than the error', () => {
    const planned = exponential(1_000, 1_500_000, 5);
    expect(gapDistance(histogramOf(planned), histogramOf(planned), TIMER_ERROR_NS)).toBeNull();
    expect(gapDistance(histogramOf(planned), histogramOf(planned))).toBe(0);
  });

  test('has no answer without gaps, or with nothing but ties', () => {
    expect(gapDistance(histogramOf([]), histogramOf([1]))).toBeNull();
    expect(gapDistance(histogramOf([1]), histogramOf([0, 0]))).toBeNull();
  });
});

const entry = (route: string, requestBytes = 100, model: string | null = null) => ({
  route,
  model,
  requestBytes,
});

describe('MixDistance', () => {
  test('is the share that would have to be exchanged', () => {
    const mix = new MixDistance(3);
    for (const route of ['a', 'a', 'a', 'b']) mix.add(0, entry(route));
    for (const route of ['a', 'b']) mix.add(1, entry(route));
    mix.add(2, entry('c'));
    expect(mix.between(0, 1)).toBeCloseTo(0.25, 12);
    expect(mix.between(1, 0)).toBeCloseTo(0.25, 12);
    expect(mix.between(0, 2)).toBe(1);
    expect(mix.between(0, 0)).toBe(0);
  });

  test('tells sizes apart by powers of two, and models and routes by name', () => {
    const mix = new MixDistance(2);
    mix.add(0, entry('a', 1_024));
    mix.add(1, entry('a', 2_047));
    expect(mix.between(0, 1)).toBe(0);
    mix.add(0, entry('a', 2_048));
    mix.add(1, entry('a', 1_024));
    expect(mix.between(0, 1)).toBe(0.5);
    const models = new MixDistance(2);
    models.add(0, entry('a', 1, 'm1'));
    models.add(1, entry('a', 1, 'm2'));
    expect(models.between(0, 1)).toBe(1);
  });

  test('has no answer while a stream is empty', () => {
    const mix = new MixDistance(2);
    mix.add(0, entry('a'));
    expect(mix.between(0, 1)).toBeNull();
  });

  test('stays small for endless routes, and never overstates the distance for it', () => {
    const mix = new MixDistance(2);
    for (let at = 0; at < 20_000; at++) {
      mix.add(0, entry(`/left/${at}`));
      mix.add(1, entry(`/left/${at}`));
    }
    expect(mix.between(0, 1)).toBe(0);
    for (let at = 0; at < 20_000; at++) mix.add(1, entry(`/right/${at}`));
    expect(mix.between(0, 1)).toBeLessThanOrEqual(0.5);
    expect(mix.between(0, 1)).toBeGreaterThan(0.1);
  });

  test('puts sizes into classes', () => {
    expect([0, 1, 2, 3, 4, 2 ** 32, 2 ** 40].map(sizeClassOf)).toEqual([0, 1, 2, 2, 3, 33, 41]);
  });
});
