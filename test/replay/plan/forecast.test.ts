import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { forecastOf } from '../../../src/replay/plan/forecast.ts';
import { rolledUp } from '../../support/rolled-up.ts';
import { scalingAt } from '../../support/scalings.ts';

const whole = (second: number, exchanges: number) => ({
  second,
  exchanges,
  latencyCount: 0,
  latencySumUs: 0,
});

function forecast(seconds: ReturnType<typeof whole>[], multiplier: number) {
  const rollUps = { seconds: rolledUp(seconds), firstArrivalUs: null, lastArrivalUs: null };
  const [fromUs, toUs] = [(seconds[0]?.second ?? 0) * 1e6, ((seconds.at(-1)?.second ?? 0) + 1) * 1e6];
  return forecastOf(
    rollUps,
    { parts: [{ fromUs, toUs }], loops: 1, durationNs: null },
    scalingAt(multiplier),
  );
}

describe('forecastOf', () => {
  it('sums a window and finds its busiest second', () => {
    const seconds = [whole(10, 3), whole(11, 9), whole(500, 4)];
    expect(forecast(seconds, 1)).toEqual({
      exchanges: 16,
      plannedExchanges: 16,
      timesEach: 1,
      peakSecond: 11,
      recordedPeakPerSecond: 9,
      plannedPeakPerSecond: 12,
    });
    expect(forecast([], 1)).toEqual({
      exchanges: 0,
      plannedExchanges: 0,
      timesEach: 1,
      peakSecond: null,
      recordedPeakPerSecond: 0,
      plannedPeakPerSecond: 0,
    });
  });

  it('foretells as many requests as a rate makes, where the begin of the window is quieter than its mean', () => {
    const seconds = rolledUp([whole(0, 1), whole(1, 3), whole(2, 40)]);
    const rollUps = { seconds, firstArrivalUs: null, lastArrivalUs: null };
    const rate = { perSecond: 5, durationNs: 10e9 };
    const scaling = scalingAt(0.1, { scaling: 'rate', rate });
    const parts = [{ fromUs: 0, toUs: 3e6 }];
    const ofRun = forecastOf(rollUps, { parts, loops: null, durationNs: 10e9 }, scaling);
    expect(ofRun).toMatchObject({ exchanges: 50, plannedExchanges: 50, timesEach: 1 });
    // A warm-up plays what precedes the window, once.
    const ofWarmup = forecastOf(rollUps, { parts, loops: 1, durationNs: null }, scaling);
    expect(ofWarmup).toMatchObject({ plannedExchanges: 44 });
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
        const foreseen = forecast(seconds, multiplier);
        expect(foreseen.plannedPeakPerSecond).toBeGreaterThanOrEqual(peak);
        expect(foreseen.exchanges).toBe(all.length);
      }),
    );
  });
});
