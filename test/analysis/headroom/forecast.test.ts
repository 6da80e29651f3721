import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dayOf } from '../../../src/analysis/headroom/fit.ts';
import { headroom } from '../../../src/analysis/headroom/forecast.ts';
import { headroomChart, headroomTable, headroomText } from '../../../src/analysis/headroom/view.ts';
import {
  type DemandDocument,
  type HeadroomDocument,
  headroomSchema,
} from '../../../src/documents/headroom.ts';
import { NO_DEMAND } from '../../support/grown-demand.ts';

/** 2026-11-02, a Monday. */
const MONDAY = 20_759;
const CAPACITY = { low: 1.9, high: 2.1 };

/** Days with a weekly pattern, a small regular deviation, and growth per month. */
function daysOf(count: number, perMonth = 0, times: (day: number) => number = () => 1) {
  return Array.from({ length: count }, (_, day) => ({
    day: dayOf(MONDAY + day),
    demand:
      (day % 7 > 4 ? 0.5 : 1) *
      (1 + perMonth) ** (day / 30.4) *
      (1 + 0.03 * Math.sin(day * day)) *
      times(day),
  }));
}

function asked({
  capacity = CAPACITY,
  ...demand
}: Partial<DemandDocument & Pick<HeadroomDocument, 'capacity'>>) {
  return headroom({ ...NO_DEMAND, days: daysOf(56), ...demand }, capacity);
}

describe('headroom', () => {
  test('has both days if demand is known to grow', () => {
    const document = asked({ days: daysOf(112, 0.1) });
    expect(document).toMatchObject({
      state: 'reached',
      lacks: null,
      growth: { source: 'measured', isSure: true },
    });
    // Of 1 at the begin of November, 1.1 times a month reaches 2 in June.
    expect(document.reached!.from < '2027-06-08').toBe(true);
    expect(document.reached!.to! > '2027-06-08').toBe(true);
    const [least, most] = document.growth.interval90!;
    expect(least).toBeLessThan(0.1);
    expect(most).toBeGreaterThan(0.1);
    expect(headroomText(document)).toContain(document.reached!.to);
  });

  test('has no day without growth', () => {
    expect(asked({ days: daysOf(112) })).toMatchObject({ state: 'not_within_a_year', reached: null });
  });

  test('has no day if growth is not sure, although an ordinary day may reach the breaking point', () => {
    const document = asked({ days: daysOf(56), capacity: { low: 1.02, high: 1.06 } });
    expect(document).toMatchObject({ state: 'not_before', growth: { isSure: false } });
    expect(document.reached!.to).toBeNull();
  });

  test.each([0, 1, 9, 13])('is not known of %i days', (count) => {
    const document = asked({ days: daysOf(count, 0.1) });
    expect(document).toMatchObject({ state: 'not_known', lacks: 'days', reached: null });
    expect(document.recorded).toMatchObject({ days: count, needed: 14 });
    expect(headroomText(document)).toContain(`${count} of 14 days`);
    expect(headroomChart(document)).toBeNull();
  });

  test('is not known without a breaking point, and then has a forecast', () => {
    const document = asked({ capacity: null });
    expect(document).toMatchObject({ state: 'not_known', lacks: 'breaking_point' });
    expect(document.weeks.from).toHaveLength(52);
  });

  test('does not reach a breaking point of which only passing loads are known', () => {
    const document = asked({ days: daysOf(84, 0.1), capacity: { low: 1.5, high: null } });
    expect(document.state).toBe('not_before');
    expect(document.reached!.to).toBeNull();
  });

  test('was reached, if a recorded day had that demand', () => {
    const document = asked({ days: daysOf(56, 0, (day) => (day === 30 ? 3 : 1)) });
    expect(document).toMatchObject({
      state: 'reached',
      reached: { from: dayOf(MONDAY + 30), to: dayOf(MONDAY + 30) },
    });
    expect(headroomText(document)).toContain('already');
  });

  test('takes growth that is set, with few days too', () => {
    for (const count of [2, 40]) {
      const document = asked({ days: daysOf(count), growth: 0.1 });
      expect(document).toMatchObject({
        state: 'reached',
        growth: { source: 'set', perMonth: 0.1, interval90: null },
      });
      // 1.1 ^ 7.27 is 2.
      const months = (Date.parse(document.reached!.from) / 86_400e3 - MONDAY - count) / 30.4;
      expect(months).toBeGreaterThan(5);
      expect(months).toBeLessThan(7.5);
      expect(JSON.stringify(headroomTable(document))).toContain('--growth');
    }
  });

  test('has no day if growth is set to none', () => {
    const document = asked({ growth: 0, capacity: { low: 1.02, high: 1.06 } });
    expect(document).toMatchObject({ state: 'not_before', growth: { source: 'set', isSure: true } });
  });

  test('takes an event for a step from its day on', () => {
    const event = { day: '2027-03-01', times: 3 };
    const document = asked({ days: daysOf(42), events: [event] });
    expect(document).toMatchObject({ state: 'reached', reached: { from: '2027-03-01', to: '2027-03-01' } });
    expect(document.events).toEqual([{ ...event, counts: 'forecast' }]);
  });

  test.each([
    ['2026-11-20', 'recorded'],
    ['2029-01-01', 'later'],
  ])('does not take an event of %s', (day, counts) => {
    const document = asked({ days: daysOf(42), events: [{ day, times: 3 }] });
    expect(document).toMatchObject({ state: 'not_within_a_year', events: [{ counts }] });
  });

  test('does not take a lasting change, or a week that differs, for growth', () => {
    const step = asked({ days: daysOf(84, 0, (day) => (day < 40 ? 1 : 1.5)) });
    expect(step.changes).toEqual([{ from: dayOf(MONDAY + 40), to: null }]);
    expect(step.reached?.to ?? null).toBeNull();
    const week = asked({ days: daysOf(84, 0, (day) => (day >= 7 && day < 14 ? 0.5 : 1)) });
    expect(week.changes).toEqual([{ from: dayOf(MONDAY + 7), to: dayOf(MONDAY + 13) }]);
    expect(week.reached?.to ?? null).toBeNull();
  });

  test('has a chart by week, whose points are equally far apart so that its lines are drawn', () => {
    const { data } = headroomChart(asked({ days: daysOf(40, 0.1) }))!;
    expect(new Set(data.at.slice(1).map((second, at) => second - data.at[at]!))).toEqual(
      new Set([7 * 86_400]),
    );
    const known = data.lines.map(({ values }) => values.filter((value) => value !== null).length);
    expect(known).toEqual([6, 52, 52, 52]);
    expect(data.band).toMatchObject({ from: CAPACITY.low, to: CAPACITY.high });
    for (const { values } of data.lines) expect(values).toHaveLength(data.at.length);
  });

  test('uses days of the history before those of the capture', () => {
    const all = daysOf(112, 0.1);
    const document = asked({ days: all.slice(84), earlier: all.slice(0, 84) });
    expect(document).toEqual(asked({ days: all }));
  });

  test('uses the latest half year, and no day without demand', () => {
    const document = asked({ days: [...daysOf(250), { day: dayOf(MONDAY + 250), demand: 0 }] });
    expect(document.recorded).toMatchObject({ days: 182, earlier: 68 });
    expect(document.days).toHaveLength(182);
  });

  test('is the same for the same days in any order, whichever they are', () => {
    const day = fc.record({ at: fc.nat(400), demand: fc.double({ min: 1e-6, max: 1e6, noNaN: true }) });
    fc.assert(
      fc.property(fc.uniqueArray(day, { selector: ({ at }) => at, minLength: 14, maxLength: 20 }), (list) => {
        const days = list.map(({ at, demand }) => ({ day: dayOf(MONDAY + at), demand }));
        const document = asked({ days });
        expect(headroomSchema.parse(JSON.parse(JSON.stringify(document)))).toEqual(document);
        expect(asked({ days: days.toReversed() })).toEqual(document);
        const { from, to } = document.reached ?? { from: '', to: null };
        expect(to === null || from <= to).toBe(true);
      }),
      { numRuns: 2 },
    );
  });
});
