import { describe, expect, test } from 'vitest';
import {
  monitoredFigures,
  monitoredPartOf,
  monitoredValue,
  monitoredValues,
} from '../../../src/analysis/metrics/monitored.ts';
import type { MonitorSample } from '../../../src/documents/monitors.ts';

/** A look each second: from a second before the run. */
const looks = (values: readonly (number | null)[], bases: readonly (number | null)[] = []): MonitorSample[] =>
  values.map((value, at) => ({ offsetNs: (at - 1) * 1e9, value, base: bases[at] ?? null }));

const part = (fromNs: number, toNs: number, answeredNs = toNs) => ({ fromNs, toNs, answeredNs });

test('a load ends as planned, where requests waited later, and where a run was stopped before', () => {
  const endOf = (sentSpanNs: number, endOffsetNs: number) =>
    monitoredPartOf(5, 10, { sentSpanNs, endOffsetNs });
  expect(endOf(9, 12)).toEqual({ fromNs: 5, toNs: 15, answeredNs: 17 });
  expect(endOf(11, 12)).toEqual({ fromNs: 5, toNs: 16, answeredNs: 17 });
  expect(endOf(3, 4)).toEqual({ fromNs: 5, toNs: 9, answeredNs: 9 });
});

test('a settling time is left out, unless the load ended within it', () => {
  const fromOf = (settlingNs: number) =>
    monitoredPartOf(5, 10, { sentSpanNs: 9, endOffsetNs: 12 }, settlingNs).fromNs;
  expect(fromOf(4)).toBe(9);
  expect(fromOf(10)).toBe(5);
});

describe('a gauge', () => {
  test('of the time in which the last answers come in is no figure', () => {
    const values = monitoredValues('gauge', looks([9, 5, 5, 5, 0, 0]), part(0, 2e9, 4e9));
    expect(monitoredFigures(values)).toMatchObject({ samples: 3, min: 5 });
  });

  test('counts what lies in the judged part, and a failed look as missing', () => {
    const values = monitoredValues('gauge', looks([9, 1, null, 3, 2, 9]), part(0, 3e9));
    expect(monitoredFigures(values)).toEqual({
      samples: 3,
      missing: 1,
      min: 1,
      mean: 2,
      p50: 2,
      p95: 3,
      max: 3,
    });
    expect(values.change).toBeNull();
  });

  test('has no figure without a value, and no mean of nothing', () => {
    const values = monitoredValues('gauge', looks([1, null, null, 1]), part(0, 1e9));
    expect(monitoredFigures(values)).toMatchObject({ samples: 0, missing: 2, max: null, mean: null });
    expect(monitoredValue(values, { kind: 'max' })).toBeNull();
  });
});

describe('a counter', () => {
  test('grows between the looks right before and after, and has a rate between two looks', () => {
    const values = monitoredValues('counter', looks([10, 20, 50, 60, 100]), part(0, 2e9));
    // 10/s before the run and 40/s after it are no part of it.
    expect([...values.samples]).toEqual([10, 30]);
    expect(values).toMatchObject({ missing: 0, change: 40, resets: 0 });
  });

  test('grows until the last answer, and has its rates while requests are sent', () => {
    const values = monitoredValues('counter', looks([0, 10, 20, 30, 31, 32]), part(0, 2e9, 4e9));
    expect([...values.samples]).toEqual([10, 10]);
    expect(values.change).toBe(22);
  });

  test('is never interpolated: a failed look leaves two rates unknown, and costs the sum nothing', () => {
    const values = monitoredValues('counter', looks([0, 10, null, 40, 50]), part(0, 3e9));
    expect([...values.samples]).toEqual([10]);
    expect(values).toMatchObject({ missing: 2, change: 40 });
  });

  test('that began anew counts from 0', () => {
    const values = monitoredValues('counter', looks([0, 10, 30, 5, 25]), part(0, 3e9));
    expect([...values.samples]).toEqual([5, 20, 20]);
    expect(values).toMatchObject({ change: 45, resets: 1 });
  });

  test.each([
    ['before', [null, null, 20, 30]],
    ['after', [0, 10, 20, null]],
  ])('has no growth where the look %s the run failed', (_, values) => {
    expect(monitoredValues('counter', looks(values), part(0, 2e9)).change).toBeNull();
  });
});

describe('a mean', () => {
  test('is the growth of the sum over that of the count, and nothing where nothing was counted', () => {
    const values = monitoredValues('mean', looks([0, 4, 4, 10, 10], [0, 2, 2, 4, 4]), part(0, 3e9));
    expect([...values.samples]).toEqual([3]);
    expect(values).toMatchObject({ missing: 0, change: 3 });
  });
});
