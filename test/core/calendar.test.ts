import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DayCalendar, parseTimeZone, zonedTime } from '../../src/core/calendar.ts';
import { AppError } from '../../src/core/errors.ts';

const hourOf = (text: string) => Date.parse(text) / 3_600_000;

describe('days of a time zone', () => {
  it('are UTC days in UTC', () => {
    const utc = new DayCalendar('UTC');
    expect(utc.partsOf(hourOf('2026-11-24T23:00:00Z'))).toMatchObject([{ day: '2026-11-24' }]);
    expect(utc.partsOf(hourOf('2026-11-25T00:00:00Z'))).toMatchObject([{ day: '2026-11-25' }]);
    expect(utc.dayOf(0)).toBe('1970-01-01');
  });

  it('follow summer time', () => {
    const berlin = new DayCalendar('Europe/Berlin');
    const day = (text: string) => berlin.partsOf(hourOf(text)).map((part) => part.day);
    expect(day('2026-07-01T21:00:00Z')).toEqual(['2026-07-01']);
    expect(day('2026-07-01T22:00:00Z')).toEqual(['2026-07-02']);
    expect(day('2026-12-01T22:00:00Z')).toEqual(['2026-12-01']);
    expect(day('2026-12-01T23:00:00Z')).toEqual(['2026-12-02']);
  });

  it.each([
    ['Asia/Kolkata', '2026-11-24T18:00:00Z', 1_800],
    ['+05:45', '2026-11-24T18:00:00Z', 900],
  ])('cut an hour where a day begins within it: %s', (zone, hour, seconds) => {
    const fromSecond = Date.parse(hour) / 1000;
    expect(new DayCalendar(zone).partsOf(hourOf(hour))).toEqual([
      { day: '2026-11-24', fromSecond, toSecond: fromSecond + seconds },
      { day: '2026-11-25', fromSecond: fromSecond + seconds, toSecond: fromSecond + 3_600 },
    ]);
  });

  it('cover every hour without overlap, each second in the day it is in', () => {
    const zones = ['UTC', 'America/St_Johns', 'Asia/Kathmandu', 'Australia/Lord_Howe', 'Pacific/Apia'];
    const calendars = zones.map((zone) => new DayCalendar(zone));
    fc.assert(
      fc.property(fc.nat({ max: 4 }), fc.integer({ min: 0, max: 600_000 }), (zone, hour) => {
        const calendar = calendars[zone] as DayCalendar;
        let next = hour * 3_600;
        for (const { day, fromSecond, toSecond } of calendar.partsOf(hour)) {
          expect(fromSecond).toBe(next);
          expect(calendar.dayOf(fromSecond * 1e6)).toBe(day);
          expect(calendar.dayOf((toSecond - 1) * 1e6)).toBe(day);
          next = toSecond;
        }
        expect(next).toBe((hour + 1) * 3_600);
      }),
    );
  });

  it('refuse a zone nobody knows', () => {
    expect(() => new DayCalendar('Mars/Olympus')).toThrow(AppError);
    expect(() => new DayCalendar('Mars/Olympus')).toThrow(/"Mars\/Olympus" is not a time zone/);
  });
});

describe('a time in a zone', () => {
  it('has one form, across midnight and daylight saving', () => {
    const instant = Date.parse('2026-11-24T23:03:07.900Z');
    expect(zonedTime(instant, 'UTC')).toBe('2026-11-24 23:03:07');
    expect(zonedTime(instant, 'Europe/Berlin')).toBe('2026-11-25 00:03:07');
    expect(zonedTime(Date.parse('2026-07-01T22:00:00Z'), 'Europe/Berlin')).toBe('2026-07-02 00:00:00');
    expect(zonedTime(0, '+05:30')).toBe('1970-01-01 05:30:00');
  });

  it('is of a zone that is known', () => {
    expect(parseTimeZone('Asia/Kolkata')).toBe('Asia/Kolkata');
    expect(() => parseTimeZone('Mars/Olympus')).toThrow(AppError);
  });
});
