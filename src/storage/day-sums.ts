import type { DayCalendar } from '../core/calendar.ts';
import type { SegmentReader } from './segment-reader.ts';
import type { HourSummary } from './segment-summary.ts';

/** What one part of a day (a whole hour, but where the day begins within one) holds. */
export interface DaySum {
  readonly day: string;
  readonly exchanges: number;
  readonly bytes: number;
}

/** An hour is a day's, whole; where a zone's day begins within it, its seconds are asked. */
export function daysOf(reader: SegmentReader, hour: HourSummary, calendar: DayCalendar): DaySum[] {
  const parts = calendar.partsOf(hour.hour);
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) {
    const { exchanges, requestBytes, responseBytes } = hour;
    return [{ day: only.day, exchanges, bytes: requestBytes + responseBytes }];
  }
  return parts.flatMap(({ day, fromSecond, toSecond }) =>
    reader
      .all<{ exchanges: number; bytes: number }>(
        `SELECT coalesce(sum(exchanges), 0) AS exchanges, coalesce(sum(request_bytes + response_bytes), 0) AS bytes
        FROM second WHERE second >= ${fromSecond} AND second < ${toSecond}`,
      )
      .filter(({ exchanges }) => exchanges > 0)
      .map((sums) => ({ day, ...sums })),
  );
}
