import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { forecastOf } from '../../src/replay/forecast.ts';
import type { PlayedSecond } from '../../src/replay/played-seconds.ts';
import { scalingAt } from '../support/scalings.ts';

/** A second that is played as a whole. */
const whole = (second: number, exchanges: number): PlayedSecond => ({
  ...{ second, exchanges, share: 1 },
  ...{ fromUs: second * 1e6, toUs: (second + 1) * 1e6 },
});

describe('forecastOf', () => {
  it('sums a window and finds its busiest second', () => {
    const seconds = [whole(10, 3), whole(11, 9), whole(500, 4)];
    expect(forecastOf(seconds, 1)).toEqual({
      exchanges: 16,
      plannedExchanges: 16,
      timesEach: 1,
      peakSecond: 11,
      recordedPeakPerSecond: 9,
      plannedPeakPerSecond: 12,
    });
    expect(forecastOf([], 1)).toEqual({
      exchanges: 0,
      plannedExchanges: 0,
      timesEach: 1,
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
        const seconds = [...counts].map(([second, { length }]) => whole(second, length));
        const scaling = scalingAt(multiplier);
        const planned = all.map((us) => scaling.offsetNsAt(us - all[0]!));
        const perSecond = Map.groupBy(planned, (ns) => Math.floor(ns / 1e9));
        const peak = Math.max(...[...perSecond.values()].map(({ length }) => length));
        const forecast = forecastOf(seconds, multiplier);
        expect(forecast.plannedPeakPerSecond).toBeGreaterThanOrEqual(peak);
        expect(forecast.exchanges).toBe(all.length);
      }),
    );
  });
});
