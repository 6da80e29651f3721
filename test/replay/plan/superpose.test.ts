import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import type { TimeRange } from '../../../src/core/ports.ts';
import { scheduleOf } from '../../../src/replay/plan/schedule.ts';
import { chooseLayers, layeredArrivals } from '../../../src/replay/plan/superpose.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { MemoryCapture } from '../../support/memory-capture.ts';
import { scalingAt } from '../../support/scalings.ts';

const HOUR_US = 3_600e6;
const DAY_US = 24 * HOUR_US;
/** A Monday, 00:00 UTC. */
const MONDAY_US = 1_793_577_600_000_000;

/** `perHour` exchanges in every hour of so many days, evenly. */
function daysOf(days: number, perHour: number): ExchangeRow[] {
  const gapUs = HOUR_US / perHour;
  return Array.from({ length: days * 24 * perHour }, (_, id) =>
    exchangeRow({ id, arrivalUs: MONDAY_US + Math.round(id * gapUs) }),
  );
}

function captureOf(rows: readonly ExchangeRow[]) {
  const source = new MemoryCapture(rows);
  const overview = {
    name: 'capture',
    exchanges: rows.length,
    firstArrivalUs: rows[0]?.arrivalUs ?? null,
    lastArrivalUs: rows.at(-1)?.arrivalUs ?? null,
    coverage: 1,
    arrivalsOnly: false,
    targets: [],
    sessionKeys: [],
    hardest: () => expect.unreachable(),
    *seconds({ fromUs, toUs }: TimeRange) {
      const touched = { fromUs: Math.floor(fromUs / 1e6) * 1e6, toUs: Math.ceil(toUs / 1e6) * 1e6 };
      const bySecond = Map.groupBy(source.rows(touched), ({ arrivalUs }) => Math.floor(arrivalUs / 1e6));
      for (const [second, { length }] of bySecond) {
        yield { second, exchanges: length, latencyCount: 0, latencySumUs: 0 };
      }
    },
  };
  return { source, overview };
}

/** Ten to eleven on the second Wednesday, from the first exchange of it on. */
const WINDOW = { fromUs: MONDAY_US + 9 * DAY_US + 10 * HOUR_US, toUs: MONDAY_US + 9 * DAY_US + 11 * HOUR_US };

describe('chooseLayers', () => {
  it('takes the weekday first, then the time of day, the nearest first', () => {
    const { source, overview } = captureOf(daysOf(21, 60));
    const days = chooseLayers(overview, source, WINDOW, 5).map(({ shiftUs }) => shiftUs / DAY_US);
    expect(days).toEqual([0, -7, 7, -1, 1]);
  });

  it('takes other hours where there is one day, and neighbours where there is one hour', () => {
    const day = captureOf(daysOf(1, 60));
    const morning = { fromUs: MONDAY_US + 10 * HOUR_US, toUs: MONDAY_US + 10.5 * HOUR_US };
    const hours = chooseLayers(day.overview, day.source, morning, 3).map(({ shiftUs }) => shiftUs / HOUR_US);
    expect(hours).toEqual([0, -1, 1]);
    const hour = captureOf(daysOf(1, 3_600).slice(0, 3_600));
    const minutes = { fromUs: MONDAY_US + 20 * 60e6, toUs: MONDAY_US + 30 * 60e6 };
    const beside = chooseLayers(hour.overview, hour.source, minutes, 4).map(({ shiftUs }) => shiftUs / 60e6);
    expect(beside).toEqual([0, -10, 10, -20]);
  });

  it('counts what a filter leaves, not what the roll-ups say of all traffic', () => {
    const rows = daysOf(2, 60);
    const { overview } = captureOf(rows);
    // A day later only every third is of the kind that is played.
    const { source } = captureOf(rows.filter(({ id }) => id < 24 * 60 || id % 3 === 0));
    const window = { fromUs: WINDOW.fromUs - 9 * DAY_US, toUs: WINDOW.toUs - 9 * DAY_US };
    const layers = chooseLayers(overview, source, { ...window, toUs: window.fromUs + HOUR_US }, 1.3, true);
    expect(layers.map(({ shiftUs, exchanges }) => [shiftUs / DAY_US, exchanges])).toEqual([
      [0, 60],
      [1, 20],
    ]);
  });

  it('counts exactly, whatever part of a second a window begins and ends in', () => {
    const { source, overview } = captureOf(daysOf(2, 7_200));
    const window = {
      fromUs: WINDOW.fromUs - 8 * DAY_US + 250_001,
      toUs: WINDOW.fromUs - 8 * DAY_US + 60_700_000,
    };
    const [own] = chooseLayers(overview, source, window, 1);
    expect(own?.exchanges).toBe([...source.rows(window)].length);
  });

  it('says how far what there is would reach', () => {
    const { source, overview } = captureOf(daysOf(1, 60));
    const whole = { fromUs: MONDAY_US, toUs: MONDAY_US + DAY_US };
    expect(() => chooseLayers(overview, source, whole, 2)).toThrow(/nothing comparable beside the window/);
    const minute = { fromUs: MONDAY_US, toUs: MONDAY_US + 60e6 };
    expect(() => chooseLayers(overview, source, minute, 100)).toThrow(
      /at most 64 stretches are laid over, enough for 65\.00x, not for 100x/,
    );
  });
});

describe('superpose', () => {
  const { source, overview } = captureOf(daysOf(21, 120));

  it.each([1, 1.5, 2, 3.7])('plans %dx on average, of fresh exchanges, in order', (multiplier) => {
    const layers = chooseLayers(overview, source, WINDOW, multiplier);
    const counts = Array.from({ length: 12 }, (_, seed) => {
      const scaling = scalingAt(multiplier, { scaling: 'superpose', seed }, { layers });
      const plan = [...scheduleOf(layeredArrivals(source, WINDOW, layers), scaling)].filter(
        ({ kept }) => kept,
      );
      expect(new Set(plan.map(({ row }) => row.id)).size).toBe(plan.length);
      for (const [at, { intendedOffsetNs }] of plan.entries()) {
        expect(intendedOffsetNs).toBeGreaterThanOrEqual(plan[at - 1]?.intendedOffsetNs ?? 0);
        expect(intendedOffsetNs).toBeLessThan(3_600e9);
      }
      return plan.length;
    });
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
    const deviation = Math.sqrt((120 * 0.25) / counts.length);
    expect(Math.abs(mean - 120 * multiplier)).toBeLessThan(4 * deviation);
  });
});
