import { describe, expect, test } from 'vitest';
import {
  compareProfiles,
  profileFactDifferences,
  SHIFT_BOUNDS,
} from '../../../src/analysis/compare/profiles.ts';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import { arrivingAt, profileOf } from '../../support/profiles.ts';
import { poissonArrivals, uniform } from '../../support/queue-simulator.ts';

const EPOCH_US = 1_794_000_000_000_000;

function traffic(seed: number, ratePerSecond = 10, facts: (at: number) => Partial<ExchangeRow> = () => ({})) {
  const count = Math.round(600 * ratePerSecond);
  const arrivals = poissonArrivals(count, ratePerSecond, uniform(seed));
  const rows = arrivingAt([...arrivals].map((second) => EPOCH_US + Math.round(second * 1e6)));
  return profileOf(rows.map((row, at) => ({ ...row, ...facts(at) })));
}

describe('comparing two profiles', () => {
  test('says that traffic of the same kind is the same', () => {
    const judged = compareProfiles(traffic(1), traffic(2), SHIFT_BOUNDS);
    expect(judged.reasons).toEqual([]);
    expect(judged.verdict).toBe('SAME');
    expect(judged.metrics.length).toBeGreaterThan(15);
  });

  test.each([
    ['rate_mean', traffic(2, 14)],
    ['request_bytes_p50', traffic(2, 10, () => ({ requestBytes: 50_000 }))],
    ['mix_models', traffic(2, 10, (at) => ({ model: at % 4 === 0 ? 'bert' : 'resnet' }))],
    ['failed', traffic(2, 10, (at) => ({ status: at % 20 === 0 ? 503 : 200 }))],
  ])('names %s where it has shifted, by how much, and over which bound', (name, shifted) => {
    const { verdict, reasons, metrics } = compareProfiles(traffic(1), shifted, SHIFT_BOUNDS);
    expect(verdict).toBe('WORSE');
    expect(reasons.map(({ code }) => code)).toContain(`${name}_shifted`);
    const own = reasons.find(({ code }) => code === `${name}_shifted`);
    expect(own).toMatchObject({ about: [name], figures: { name, verdict: 'worse' } });
    expect(reasons[0]?.text).toMatch(/a shift of [\d.]+ %, over [\d.]+ %/);
    expect(metrics.find((metric) => metric.name === name)).toMatchObject({ verdict: 'worse' });
  });

  test('takes the bounds that are given', () => {
    expect(compareProfiles(traffic(1), traffic(2, 14), { ...SHIFT_BOUNDS, rate: 1, peak: 1 }).verdict).toBe(
      'SAME',
    );
  });

  test('is inconclusive with few requests, and with none', () => {
    const few = compareProfiles(traffic(1), traffic(2, 1), SHIFT_BOUNDS);
    expect(few).toMatchObject({ verdict: 'INCONCLUSIVE', reasons: [{ code: 'too_few_requests' }] });
    expect(compareProfiles(profileOf([]), profileOf([]), SHIFT_BOUNDS).verdict).toBe('INCONCLUSIVE');
  });

  test('leaves peaks out where one window is far longer, and says so', () => {
    const long = traffic(1);
    const short = { ...traffic(2), window: { ...long.window!, spanS: 100 } };
    const { notes, metrics } = compareProfiles(long, short, SHIFT_BOUNDS);
    expect(notes.map(({ code }) => code)).toEqual(['spans_differ']);
    expect(metrics.map(({ name }) => name)).not.toContain('rate_peak_1s');
  });

  test('finds filters and zones that differ', () => {
    const a = traffic(1, 2);
    expect(profileFactDifferences(a, a)).toEqual([]);
    expect(profileFactDifferences(a, { ...a, filters: ['model bert'] })).toEqual([
      { fact: 'filters', a: '[]', b: '["model bert"]' },
    ]);
  });
});
