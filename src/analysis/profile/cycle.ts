import type { DailyHour, WeeklyDay } from '../../documents/profile.ts';
import { HOURS_OF_WEEK, type LocalDay, WEEKDAYS } from './local-hours.ts';

/** Arrivals by the hour of the week; position 0 is Monday, 00:00 of the time zone. */
export interface WeekFigures {
  readonly requests: readonly number[];
  /** Requests per second of the time that was looked at; null where that is under a minute. */
  readonly perSecond: readonly (number | null)[];
}

/** Below this much of it, an hour's rate says nothing. */
const MIN_OBSERVED_S = 60;
/** An hour counts as whole from here: a window ends at its last arrival, seconds before the hour does. */
export const WHOLE_HOUR_S = 3_540;

export function weekOf(days: readonly LocalDay[]): WeekFigures {
  const requests = new Array<number>(HOURS_OF_WEEK).fill(0);
  const observedS = new Array<number>(HOURS_OF_WEEK).fill(0);
  for (const day of days) {
    for (let hour = 0; hour < 24; hour += 1) {
      requests[day.weekday * 24 + hour]! += day.requests[hour]!;
      observedS[day.weekday * 24 + hour]! += day.observedS[hour]!;
    }
  }
  return {
    requests,
    perSecond: requests.map((count, at) => (observedS[at]! < MIN_OBSERVED_S ? null : count / observedS[at]!)),
  };
}

export function dailyCycle(days: readonly LocalDay[]): DailyHour[] {
  return Array.from({ length: 24 }, (_, hour) => {
    const rates = days
      .filter(({ observedS }) => observedS[hour]! >= WHOLE_HOUR_S)
      .map((day) => day.requests[hour]! / day.observedS[hour]!);
    return {
      hour,
      days: rates.length,
      mean: rates.length === 0 ? null : rates.reduce((sum, rate) => sum + rate, 0) / rates.length,
      min: rates.length === 0 ? null : Math.min(...rates),
      max: rates.length === 0 ? null : Math.max(...rates),
    };
  });
}

export function weeklyCycle(days: readonly LocalDay[]): WeeklyDay[] {
  return WEEKDAYS.map((weekday, index) => {
    const same = days.filter((day) => day.weekday === index);
    const requests = same.reduce((sum, day) => sum + total(day.requests), 0);
    const observedS = same.reduce((sum, day) => sum + total(day.observedS), 0);
    return {
      weekday,
      days: same.filter(({ observedS: hours }) => hours.every((each) => each >= WHOLE_HOUR_S)).length,
      mean: observedS < MIN_OBSERVED_S ? null : requests / observedS,
    };
  });
}

function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
