import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OurLateness } from '../../src/analysis/our-lateness.ts';
import { parseSlo } from '../../src/analysis/slo.ts';
import { judge } from '../../src/analysis/verdict.ts';
import { Histogram, nearestRank } from '../../src/core/histogram.ts';
import type { Send } from '../../src/core/run.ts';
import { contextOf, good, HEALTHY } from '../support/run-contexts.ts';
import { failed, send } from '../support/sends.ts';

const MS = 1e6;

function histogramOf(values: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

function percentileOf(values: readonly number[], percent: number): number {
  return values.toSorted((a, b) => a - b)[nearestRank(percent, values.length) - 1] as number;
}

const aggregations = fc.oneof(
  fc.record({ kind: fc.constant('percentile' as const), percent: fc.constantFrom(1, 50, 90, 95, 99, 99.9) }),
  fc.record({ kind: fc.constantFrom('avg' as const, 'max' as const, 'min' as const) }),
);

/** Times as they are, and how late we were at each end of each: the second a shuffle of the first. */
const observations = fc
  .array(fc.record({ time: fc.integer({ min: 0, max: 5_000 }), late: fc.nat(2_000), key: fc.nat() }), {
    minLength: 1,
    maxLength: 150,
  })
  .map((each) => ({
    times: each.map(({ time }) => time),
    late: each.map(({ late }) => late),
    others: each.toSorted((a, b) => a.key - b.key).map(({ late }) => late),
  }));

test('what is proven is true of the times without us, however late we were at either end of each', () => {
  fc.assert(
    fc.property(
      observations,
      aggregations,
      fc.integer({ min: 0, max: 6_000 }),
      fc.constantFrom(1 as const, 2 as const),
      ({ times, late, others }, aggregation, limit, ends) => {
        const seen = times.map((time, at) => time + (late[at] ?? 0) + (ends === 2 ? (others[at] ?? 0) : 0));
        const ours = new OurLateness({ lag: histogramOf(late), stalledNs: 0 });
        if (!ours.proves(aggregation, limit, { all: histogramOf(seen), infinite: 0, ends })) return;
        const { kind } = aggregation;
        if (kind === 'percentile') expect(percentileOf(times, aggregation.percent)).toBeGreaterThan(limit);
        else if (kind === 'avg')
          expect(times.reduce((sum, each) => sum + each, 0) / times.length).toBeGreaterThan(limit);
        else expect(kind === 'max' ? Math.max(...times) : Math.min(...times)).toBeGreaterThan(limit);
      },
    ),
    { numRuns: 500 },
  );
});

test('what nobody was late for is proven to the bin, and what never ended is greater than all', () => {
  const ours = new OurLateness({ lag: new Histogram(), stalledNs: 0 });
  const p90 = { kind: 'percentile', percent: 90 } as const;
  const times = histogramOf(Array.from({ length: 10 }, (_, at) => (at + 1) * 100));
  expect([899, 900].map((limit) => ours.proves(p90, limit, { all: times, infinite: 0, ends: 1 }))).toEqual([
    true,
    false,
  ]);
  expect(ours.proves(p90, 5_000, { all: times, infinite: 1, ends: 1 })).toBe(false);
  expect(ours.proves(p90, 5_000, { all: times, infinite: 2, ends: 1 })).toBe(true);
  expect(ours.proves(p90, 0, { all: new Histogram(), infinite: 0, ends: 1 })).toBe(false);
});

/** As `send`, answered so long after it left. */
function answered(index: number, afterMs: number, lateMs = 0): Send {
  const left = (index * 100 + lateMs) * MS;
  return send({ index, actualOffsetNs: left, lastByteOffsetNs: left + afterMs * MS });
}

describe('a run is no failure of the target', () => {
  const verdictOf = (sends: readonly Send[], slo: string, stalls: [number, number][] = []) => {
    const stretches = stalls.map(([from, to]) => ({ fromOffsetNs: from * MS, toOffsetNs: to * MS }));
    const judgement = judge(contextOf(sends, { health: { ...HEALTHY, stalls: stretches } }), parseSlo([slo]));
    return { verdict: judgement.verdict, reasons: judgement.reasons.map(({ code }) => code) };
  };

  test('whose answers were read as late as its requests were sent', () => {
    // Of a thousand, eight left 240 ms late, and eight others were read so.
    const sends = Array.from({ length: 1_000 }, (_, index) =>
      answered(index, index % 125 === 9 ? 290 : 50, index % 125 === 0 ? 240 : 0),
    );
    expect(verdictOf(sends, 'service: p(99.5)<150')).toEqual({
      verdict: 'INCONCLUSIVE',
      reasons: ['too_few_samples'],
    });
    expect(verdictOf(sends, 'latency: p(99.5)<150').verdict).toBe('INCONCLUSIVE');
    expect(verdictOf(sends, 'latency: max<150')).toEqual({
      verdict: 'INCONCLUSIVE',
      reasons: ['violated_by_our_lag'],
    });
    expect(verdictOf(sends, 'latency: max<49').verdict).toBe('FAIL');
    expect(verdictOf(sends, 'latency: p(50)<49').verdict).toBe('FAIL');
  });

  test('that was asked for all at once after we had stood still', () => {
    const sends = Array.from({ length: 200 }, (_, index) => answered(index, index < 60 ? 5 : 305));
    expect(verdictOf(sends, 'latency: p(50)<100', [[5_000, 5_300]])).toEqual({
      verdict: 'INCONCLUSIVE',
      reasons: ['stalled'],
    });
    expect(verdictOf(sends, 'latency: p(50)<100').verdict).toBe('FAIL');
    expect(verdictOf(sends, 'latency: p(50)<6', [[5_000, 5_300]]).verdict).toBe('INCONCLUSIVE');
    const slow = Array.from({ length: 200 }, (_, index) => answered(index, 3_000));
    expect(verdictOf(slow, 'latency: p(50)<100', [[5_000, 5_300]]).verdict).toBe('FAIL');
  });

  test('but is one for what was over before we stood still, quick answers and slow ones', () => {
    for (const afterMs of [240, 450]) {
      const sends = Array.from({ length: 600 }, (_, index) => answered(index, afterMs));
      const late: [number, number][] = [[55_000, 55_300]];
      for (const slo of ['latency: p(50)<200', 'service: p(90)<200', 'latency: max<200'])
        expect(verdictOf(sends, slo, late).verdict).toBe('FAIL');
      expect(verdictOf(sends, 'latency: p(5)<200', late).verdict).toBe('INCONCLUSIVE');
      expect(verdictOf(sends, 'latency: p(50)<200', [[2_000, 2_300]]).verdict).toBe('INCONCLUSIVE');
    }
  });

  test('but is one for a maximum that hundreds are over, though one request left late', () => {
    const sends = Array.from({ length: 2_000 }, (_, index) => answered(index, 300, index === 7 ? 240 : 0));
    for (const slo of ['latency: max<200', 'service: max<200'])
      expect(verdictOf(sends, slo).verdict).toBe('FAIL');
  });

  test('that we took longer for because we stood still at its end', () => {
    const sends = [...good(199), answered(199, 3_050)];
    expect(verdictOf(sends, 'makespan: <22s').verdict).toBe('FAIL');
    expect(verdictOf(sends, 'makespan: <22s', [[20_000, 22_900]]).verdict).toBe('INCONCLUSIVE');
    expect(verdictOf(sends, 'makespan: <18s', [[20_000, 22_900]]).verdict).toBe('FAIL');
  });

  test('that gave up on us while we stood still', () => {
    const during: [number, number][] = [[17_000, 20_010]];
    const broken = Array.from({ length: 20 }, (_, at) => failed(150 + at, { lastByteOffsetNs: 20_000 * MS }));
    const sends = [...good(150), ...broken];
    expect(verdictOf(sends, 'errors: rate<0.01').verdict).toBe('FAIL');
    expect(verdictOf(sends, 'errors: rate<0.01', during).verdict).toBe('INCONCLUSIVE');
    const others = [failed(210), failed(211), failed(212)];
    expect(verdictOf([...sends, ...others], 'errors: rate<0.01', during).verdict).toBe('FAIL');
  });
});
