import { DayCalendar } from '../../core/calendar.ts';
import { AppError } from '../../core/errors.ts';
import type { TimeRange } from '../../core/ports.ts';
import { parseInstantUs } from '../../core/units.ts';

const HOUR_US = 3_600_000_000;
const SECOND_US = 1_000_000;
/** UTC's hours around a date within which the day of any zone lies: offsets reach from -12 to +14 hours. */
const HOURS_BEFORE = 15;
const HOURS_AFTER = 40;

/**
 * A day of a time zone, first second to first second of the next: 23 or 25 hours where the clocks change.
 * @param day `2026-11-20`
 * @throws AppError OPTION_INVALID for what is no date, and for a day that the zone left out
 */
export function rangeOfDay(day: string, calendar: DayCalendar): TimeRange {
  const text = day.trim();
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) {
    throw new AppError('OPTION_INVALID', `--day: ${JSON.stringify(day)} is not a date`, {
      hint: 'Give a day such as 2026-11-20, and its zone with --tz.',
    });
  }
  const firstHour = parseInstantUs(text, '--day') / HOUR_US - HOURS_BEFORE;
  let fromSecond = Number.POSITIVE_INFINITY;
  let toSecond = Number.NEGATIVE_INFINITY;
  for (let hour = firstHour; hour < firstHour + HOURS_BEFORE + HOURS_AFTER; hour += 1) {
    for (const part of calendar.partsOf(hour)) {
      if (part.day !== text) continue;
      fromSecond = Math.min(fromSecond, part.fromSecond);
      toSecond = Math.max(toSecond, part.toSecond);
    }
  }
  if (toSecond <= fromSecond) {
    throw new AppError('OPTION_INVALID', `--day: there is no ${text} in ${calendar.timeZone}`);
  }
  return { fromUs: fromSecond * SECOND_US, toUs: toSecond * SECOND_US };
}

/** The calendar of `--tz`. @throws AppError OPTION_INVALID for a zone nobody knows. */
export function calendarOf(timeZone: string): DayCalendar {
  return new DayCalendar(timeZone);
}
