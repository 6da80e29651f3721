import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CaptureOverview, SecondCount } from '../../src/replay/capture-overview.ts';
import { forecastOf } from '../../src/replay/forecast.ts';
import { compressOffsetNs } from '../../src/replay/scaling/compress.ts';
import { chooseWindow } from '../../src/replay/window.ts';

function overviewOf(firstArrivalUs: number | null, lastArrivalUs: number | null): CaptureOverview {
  return {
    name: 'capture',
    exchanges: 2,
    firstArrivalUs,
    lastArrivalUs,
    coverage: 1,
    arrivalsOnly: false,
    targets: [],
    sessionKeys: [],
    seconds: () => [],
  };
}

describe('chooseWindow', () => {
  const open = { fromUs: null, toUs: null };

  it('takes the whole capture, last arrival included, where nothing was asked for', () => {
    expect(chooseWindow(overviewOf(1_000, 5_000), open, 2)).toEqual({
      fromUs: 1_000,
      toUs: 5_001,
      plannedSpanNs: 2_000_000,
    });
  });

  it('cuts what was asked for to what there is', () => {
    const asked = { fromUs: 0, toUs: 3_000 };
    expect(chooseWindow(overviewOf(1_000, 5_000), asked, 1)).toMatchObject({ fromUs: 1_000, toUs: 3_000 });
  });

  it.each([
    ['an empty capture', overviewOf(null, null), open],
    ['a window before it', overviewOf(1_000, 5_000), { fromUs: 0, toUs: 1_000 }],
    ['a window after it', overviewOf(1_000, 5_000), { fromUs: 5_001, toUs: null }],
  ])('finds nothing in %s', (_, overview, asked) => {
    expect(() => chooseWindow(overview, asked, 1)).toThrow(
      expect.objectContaining({ code: 'CAPTURE_EMPTY' }),
    );
  });

  it('refuses a replay of more than a hundred days, whose nanoseconds no longer count exactly', () => {
    const year = overviewOf(0, 365 * 86_400 * 1e6);
    expect(() => chooseWindow(year, open, 1)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }));
    expect(chooseWindow(year, open, 10).plannedSpanNs).toBeLessThan(Number.MAX_SAFE_INTEGER);
  });
});

describe('forecastOf', () => {
  it('sums a window and finds its busiest second', () => {
    const seconds = [
      { second: 10, exchanges: 3 },
      { second: 11, exchanges: 9 },
      { second: 500, exchanges: 4 },
    ];
    expect(forecastOf(seconds, 1)).toEqual({
      exchanges: 16,
      plannedExchanges: 16,
      peakSecond: 11,
      recordedPeakPerSecond: 9,
      plannedPeakPerSecond: 12,
    });
    expect(forecastOf([], 1)).toEqual({
      exchanges: 0,
      plannedExchanges: 0,
      peakSecond: null,
      recordedPeakPerSecond: 0,
      plannedPeakPerSecond: 0,
    });
  });

  it('bounds every second of the plan, wherever seconds begin and at any multiplier', () => {
    const arrivals = fc.array(fc.integer({ min: 0, max: 30_000_000 }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(arrivals, fc.constantFrom(0.1, 0.5, 1, 1.5, 2, 3.7, 20), (unsorted, multiplier) => {
        const all = unsorted.sort((a, b) => a - b);
        const counts = Map.groupBy(all, (us) => Math.floor(us / 1e6));
        const seconds: SecondCount[] = [...counts].map(([second, { length }]) => ({
          second,
          exchanges: length,
        }));
        const planned = all.map((us) => compressOffsetNs(us - all[0]!, multiplier));
        const perSecond = Map.groupBy(planned, (ns) => Math.floor(ns / 1e9));
        const peak = Math.max(...[...perSecond.values()].map(({ length }) => length));
        const forecast = forecastOf(seconds, multiplier);
        expect(forecast.plannedPeakPerSecond).toBeGreaterThanOrEqual(peak);
        expect(forecast.exchanges).toBe(all.length);
      }),
    );
  });
});
