import { describe, expect, test } from 'vitest';
import { capacityOf, demandOfDays } from '../../../src/analysis/headroom/days.ts';
import type { RankedWindows } from '../../../src/analysis/windows/rank.ts';
import { DayCalendar } from '../../../src/core/calendar.ts';
import { playedAt, searched } from '../../support/searched.ts';

const HOUR_US = 3_600e6;
const MONDAY_US = Date.UTC(2026, 10, 2) * 1e3;
const QUARTER_S = 900;

/** Windows of quarters of hours with these requests and this work, from an hour on. */
function rankedFrom(
  hour: number,
  requests: readonly number[],
  work: readonly number[] | null,
): RankedWindows {
  return {
    starts: requests.map((_, at) => MONDAY_US + hour * HOUR_US + at * QUARTER_S * 1e6),
    recorded: [],
    recordedS: requests.map(() => QUARTER_S),
    requests,
    order: [],
    dimensions: work === null ? [] : [{ dimension: 'work', subject: null, values: work }],
    ...{ fitted: null, multiplier: 2, empty: 0, silence: null, silentUs: 0, unstored: 0 },
    ...{ hours: new Map(), otherNames: 0 },
  };
}

/** The window that begins at an hour. */
const windowAt = (hour: number) => ({
  fromUs: MONDAY_US + hour * HOUR_US,
  toUs: MONDAY_US + hour * HOUR_US + QUARTER_S * 1e6,
});
const UTC = new DayCalendar('UTC');

describe('demand of days', () => {
  const requests = Array.from({ length: 3 * 96 }, (_, at) => 90 + (at % 96));
  const work = requests.map((count, at) => count * (Math.floor(at / 96) + 1));

  test('is the work of the hardest window, as a multiple of what is replayed', () => {
    const ranked = rankedFrom(0, requests, work);
    const { days, leftOut, perSecond } = demandOfDays(ranked, [windowAt(1)], QUARTER_S, UTC);
    const unit = 90 + 4;
    expect(days.map(({ day }) => day)).toEqual(['2026-11-02', '2026-11-03', '2026-11-04']);
    for (const [at, { demand }] of days.entries()) expect(demand).toBeCloseTo((185 / unit) * (at + 1), 9);
    expect({ leftOut, perSecond }).toEqual({ leftOut: 0, perSecond: unit / QUARTER_S });
  });

  test('is that of requests, if latencies are not known', () => {
    const { days } = demandOfDays(rankedFrom(0, requests, null), [windowAt(24)], QUARTER_S, UTC);
    for (const { demand } of days) expect(demand).toBeCloseTo(185 / 90, 9);
  });

  test('lacks days that were recorded in part', () => {
    const late = demandOfDays(rankedFrom(5, requests, work), [windowAt(24)], QUARTER_S, UTC);
    expect(late).toMatchObject({ leftOut: 2, days: [{ day: '2026-11-03' }, { day: '2026-11-04' }] });
    // Less than an hour is missing at the begin, and in Berlin the last day has only begun.
    const start = rankedFrom(0.75, requests.slice(3), work.slice(3));
    expect(demandOfDays(start, [windowAt(24)], QUARTER_S, UTC)).toMatchObject({ leftOut: 0 });
    const berlin = demandOfDays(start, [windowAt(24)], QUARTER_S, new DayCalendar('Europe/Berlin'));
    expect(berlin).toMatchObject({ leftOut: 2, days: [{ day: '2026-11-03' }, { day: '2026-11-04' }] });
  });

  test('is not known without a window that is replayed', () => {
    const empty = { days: [], leftOut: 0, perSecond: 0 };
    expect(demandOfDays(rankedFrom(0, requests, work), [windowAt(99)], QUARTER_S, UTC)).toEqual(empty);
    expect(demandOfDays(rankedFrom(0, [], null), [windowAt(0)], QUARTER_S, UTC)).toEqual(empty);
  });
});

describe('the breaking point of a forecast', () => {
  const found = searched([1, 2, 3, 4, 4.5, 5, 6].map((load) => playedAt(load)));
  const point = found.breakingPoint;

  test('is the interval, or what is known of it', () => {
    expect(capacityOf(found)).toEqual({ low: point.interval![0], high: point.interval![1] });
    const without = (parts: Partial<typeof point>) =>
      capacityOf({ calibration: null, breakingPoint: { ...point, interval: null, ...parts } });
    expect(without({})).toEqual({ low: point.passes!.multiplier, high: point.fails!.multiplier });
    expect(without({ fails: null })).toEqual({ low: point.passes!.multiplier, high: null });
    expect(without({ passes: null })).toBeNull();
  });
});
