import { describe, expect, test } from 'vitest';
import {
  dependenceLength,
  spreadOf,
  studentTBetween,
  windowCount,
  windowEdges,
} from '../../../src/analysis/compare/intervals.ts';
import { studentT } from '../../../src/analysis/stats/percentiles.ts';
import { poissonArrivals, queueLatencies, uniform } from '../../support/queue-simulator.ts';

describe('Student’s t', () => {
  // From the printed tables of the distribution.
  test.each([
    [0.975, 1, 12.706],
    [0.975, 4, 2.776],
    [0.975, 9, 2.262],
    [0.95, 2, 2.92],
    [0.995, 9, 3.25],
    [0.9995, 9, 4.781],
    [0.995, 19, 2.861],
  ])('of %f with %i degrees of freedom is %f', (probability, freedom, value) => {
    expect(studentT(probability, freedom)).toBeCloseTo(value, 3);
  });

  // Integrated numerically.
  test.each([
    [0.95, 2.5, 2.5582],
    [0.95, 5.5, 1.9753],
    [0.9833, 3.5, 3.4054],
    [0.9992, 1.5, 60.5577],
    [0.9992, 2.5, 15.1252],
  ])('of %f between whole degrees of freedom, at %f, is not below %f', (probability, freedom, value) => {
    const between = studentTBetween(probability, freedom);
    expect(between).toBeGreaterThanOrEqual(value);
    expect(between).toBeLessThan(studentT(probability, Math.floor(freedom)));
  });
});

describe('how far latencies hang together', () => {
  test('is one for independent ones, and for those that do not vary', () => {
    const random = uniform(3);
    expect(dependenceLength(Float64Array.from({ length: 5_000 }, () => 1e6 * (1 + random())))).toBeLessThan(
      1.2,
    );
    expect(dependenceLength(new Float64Array(100).fill(5))).toBe(1);
    expect(dependenceLength(new Float64Array(0))).toBe(1);
  });

  test('grows with the load of a queue, and bears answers that never came', () => {
    const lengthAt = (load: number) => {
      const random = uniform(5);
      const arrivals = poissonArrivals(20_000, load, random);
      return dependenceLength(
        queueLatencies(arrivals, 1, () => -Math.log(random())).map((each) => each * 1e9),
      );
    };
    expect(lengthAt(0.5)).toBeGreaterThan(3);
    expect(lengthAt(0.8)).toBeGreaterThan(3 * lengthAt(0.5));
    const broken = Float64Array.from({ length: 100 }, (_, at) =>
      at % 9 === 0 ? Number.POSITIVE_INFINITY : 1e6 + at,
    );
    expect(dependenceLength(broken)).toBeGreaterThanOrEqual(1);
  });
});

describe('windows', () => {
  test('are twenty, ten, five to nine, or none', () => {
    expect([2_000, 1_999, 1_000, 999, 500, 499].map((count) => windowCount(count, 100))).toEqual([
      20, 10, 10, 9, 5, 0,
    ]);
  });

  test('cover every value once', () => {
    const edges = Array.from({ length: 7 }, (_, at) => windowEdges(100, 7, at));
    expect(edges.map(([from]) => from)).toEqual([0, ...edges.slice(0, -1).map(([, to]) => to)]);
    expect(edges.at(-1)?.[1]).toBe(100);
  });

  test('have a mean and its error', () => {
    expect(spreadOf([1, 2, 3, 4, 5])).toEqual({
      mean: 3,
      error: Math.sqrt(10 / 20),
      freedom: 4,
      noise: null,
    });
  });
});

describe('the queue on a virtual clock', () => {
  test('is the queue with one server that Kleinrock solved', () => {
    // M/M/1 at a load of 0.6: mean time in the system 1 / (1 − 0.6).
    const random = uniform(7);
    const latencies = queueLatencies(poissonArrivals(200_000, 0.6, random), 1, () => -Math.log(random()));
    const mean = latencies.reduce((sum, each) => sum + each, 0) / latencies.length;
    expect(mean).toBeCloseTo(2.5, 1);
  });

  test('serves first come first served by whoever is free first', () => {
    const latencies = queueLatencies(Float64Array.of(0, 0, 0, 1), 2, () => 2);
    expect([...latencies]).toEqual([2, 2, 4, 3]);
  });
});
