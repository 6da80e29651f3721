import { describe, expect, test } from 'vitest';
import {
  dailyCycle,
  LocalHours,
  unusualDays,
  weeklyCycle,
  weekOf,
} from '../../../src/analysis/profile/cycle.ts';

const HOUR_US = 3_600_000_000;
/** A Monday, 00:00 UTC. */
const MONDAY_US = Date.UTC(2026, 10, 2) * 1_000;

/** Days of 24 hours from Monday on, with so many requests in each hour. */
function traffic(days: number, countOf: (day: number, hour: number) => number, timeZone = 'UTC'): LocalHours {
  const hours = new LocalHours(timeZone);
  hours.observe({ fromUs: MONDAY_US, toUs: MONDAY_US + days * 24 * HOUR_US });
  for (let hour = 0; hour < days * 24; hour += 1) {
    const count = countOf(Math.floor(hour / 24), hour % 24);
    for (let index = 0; index < count; index += 1) hours.add(MONDAY_US + hour * HOUR_US + index * 1_000);
  }
  return hours;
}

const officeHours = (_: number, hour: number) => (hour >= 9 && hour < 17 ? 40 : 5);

describe('the hours of the week', () => {
  test('are rates over the time that was looked at, and hours without traffic are 0', () => {
    const week = weekOf(traffic(10, (day, hour) => (day < 7 && hour === 3 ? 0 : 36)).days());
    expect(week.hourOfWeek[3]).toBe(36);
    expect(week.hourOfWeekPerSecond[4]).toBeCloseTo(0.01, 9);
    expect(week.hourOfWeekPerSecond[3]).toBeCloseTo(0.005, 9);
    expect(week.hourOfWeekPerSecond[5 * 24 + 3]).toBe(0);
  });

  test('are those of the zone, on the day that has one more as well', () => {
    const berlin = new LocalHours('Europe/Berlin');
    // 2026-10-25: clocks go back at 03:00, the hour from 02:00 on comes twice.
    const fromUs = Date.UTC(2026, 9, 24, 22) * 1_000;
    berlin.observe({ fromUs, toUs: fromUs + 25 * HOUR_US });
    for (let hour = 0; hour < 25; hour += 1) berlin.add(fromUs + hour * HOUR_US);
    const [sunday] = berlin.days();
    expect(sunday).toMatchObject({ day: '2026-10-25', weekday: 6 });
    expect(sunday?.requests[2]).toBe(2);
    expect(sunday?.observedS[2]).toBe(7_200);
    expect(berlin.days()).toHaveLength(1);
  });

  test('of zones with half and quarter hours begin where the hour does', () => {
    const kathmandu = new LocalHours('Asia/Kathmandu');
    kathmandu.add(Date.UTC(2026, 10, 2, 18, 15) * 1_000);
    kathmandu.add(Date.UTC(2026, 10, 2, 18, 14, 59) * 1_000);
    expect(kathmandu.days().map(({ day }) => day)).toEqual(['2026-11-02', '2026-11-03']);
  });
});

describe('the cycle', () => {
  test('has a mean for each hour of whole days, and each day of the week', () => {
    const days = traffic(8, officeHours).days();
    expect(dailyCycle(days)[10]).toMatchObject({ hour: 10, days: 8, min: 40 / 3_600, max: 40 / 3_600 });
    expect(weeklyCycle(days).map(({ days: whole }) => whole)).toEqual([2, 1, 1, 1, 1, 1, 1]);
  });

  test('names no day where days are alike but for noise', () => {
    const noisy = traffic(14, (day, hour) => officeHours(day, hour) + ((day * 7 + hour * 3) % 5));
    expect(unusualDays(noisy.days())).toEqual({ compared: 14, days: [] });
  });

  test('knows weekends from workdays', () => {
    const weekend = traffic(14, (day, hour) => (day % 7 >= 5 ? 4 : officeHours(day, hour)));
    expect(unusualDays(weekend.days()).days).toEqual([]);
  });

  test('names a day by its volume, with the hour that differs most', () => {
    const spike = traffic(
      14,
      (day, hour) => officeHours(day, hour) * (day === 9 && hour === 12 ? 12 : day === 9 ? 2 : 1),
    );
    expect(unusualDays(spike.days()).days).toMatchObject([
      { day: '2026-11-11', weekday: 'Wednesday', hour: 12, comparedWith: 'other workdays' },
    ]);
  });

  test('names a day whose requests lie in other hours', () => {
    const shifted = traffic(14, (day, hour) => officeHours(day, day === 2 ? (hour + 12) % 24 : hour));
    const [day] = unusualDays(shifted.days()).days;
    expect(day).toMatchObject({ day: '2026-11-04', reasons: ['shape'] });
    expect(day?.volumeRatio).toBeCloseTo(1, 9);
    expect(day?.shapeDistance).toBeGreaterThan(0.5);
  });

  test('names a day without any traffic, and says nothing of three days', () => {
    const outage = traffic(14, (day, hour) => (day === 3 ? 0 : officeHours(day, hour)));
    expect(unusualDays(outage.days()).days).toMatchObject([
      { day: '2026-11-05', reasons: ['volume'], volumeRatio: 0 },
    ]);
    expect(unusualDays(traffic(2, officeHours).days())).toEqual({ compared: 0, days: [] });
  });
});
