import { ZoneDays } from '../../core/calendar.ts';
import type { TimeRange } from '../../core/ports.ts';
import { US_PER_S } from '../../core/units.ts';
import type {
  DailyHour,
  ProfileDocument,
  UnusualDay,
  UnusualDays,
  WeeklyDay,
} from '../../documents/profile.ts';

/** An hour that was observed for less than this has no rate. */
const MIN_OBSERVED_S = 60;
/** An hour counts as complete from here, because a window ends at its last arrival, seconds before the full hour. */
const WHOLE_HOUR_S = 3_540;

/** Arrivals by hour of the week, in total and per observed second. Position 0 is Monday, 00:00. */
export function weekOf(
  days: readonly LocalDay[],
): Pick<ProfileDocument, 'hourOfWeek' | 'hourOfWeekPerSecond'> {
  const requests = new Array<number>(HOURS_OF_WEEK).fill(0);
  const observedS = new Array<number>(HOURS_OF_WEEK).fill(0);
  for (const day of days) {
    for (let hour = 0; hour < 24; hour += 1) {
      requests[day.weekday * 24 + hour]! += day.requests[hour]!;
      observedS[day.weekday * 24 + hour]! += day.observedS[hour]!;
    }
  }
  return {
    hourOfWeek: requests,
    hourOfWeekPerSecond: requests.map((count, at) =>
      observedS[at]! < MIN_OBSERVED_S ? null : count / observedS[at]!,
    ),
  };
}

export function dailyCycle(days: readonly LocalDay[]): DailyHour[] {
  return Array.from({ length: 24 }, (_, hour) => {
    const rates = days.filter((day) => isWhole(day, hour)).map((day) => rateOf(day, hour));
    return {
      hour,
      days: rates.length,
      mean: rates.length === 0 ? null : sumOf(rates) / rates.length,
      min: rates.length === 0 ? null : Math.min(...rates),
      max: rates.length === 0 ? null : Math.max(...rates),
    };
  });
}

export function weeklyCycle(days: readonly LocalDay[]): WeeklyDay[] {
  return WEEKDAYS.map((weekday, index) => {
    const same = days.filter((day) => day.weekday === index);
    const requests = same.reduce((sum, day) => sum + sumOf(day.requests), 0);
    const observedS = same.reduce((sum, day) => sum + sumOf(day.observedS), 0);
    return {
      weekday,
      days: same.filter(({ observedS: hours }) => hours.every((each) => each >= WHOLE_HOUR_S)).length,
      mean: observedS < MIN_OBSERVED_S ? null : requests / observedS,
    };
  });
}

/** A day of a time zone, hour by hour. */
interface LocalDay {
  /** `2026-11-24` */
  readonly day: string;
  /** 0 is Monday. */
  readonly weekday: number;
  /** Arrivals in each of its hours, 0 to 23. */
  readonly requests: Float64Array;
  /** Seconds of the hour that are in the windows; 7,200 when clocks are set back. */
  readonly observedS: Float64Array;
}

export const WEEKDAYS = [
  'Monday',
  'Tuesday',
  'Wednesday',
  'Thursday',
  'Friday',
  'Saturday',
  'Sunday',
] as const;
const HOURS_OF_WEEK = 168;

/** Length of a slot: offsets of all time zones since 1972 are multiples of 15 minutes. */
const SLOT_US = 900_000_000;
const SLOT_S = 900;
/** Days at most, three years. A longer span has no useful weekly cycle. */
const MAX_DAYS = 1_100;

interface Slot {
  readonly day: LocalDay;
  readonly hour: number;
}

/** Counts arrivals by day and hour of a time zone. Windows may come in any order. */
export class LocalHours {
  readonly #zone: ZoneDays;
  readonly #days = new Map<string, LocalDay>();
  #slotIndex = Number.NaN;
  #slot: Slot | null = null;
  #complete = true;

  /** @throws AppError OPTION_INVALID for an unknown time zone. */
  constructor(timeZone: string) {
    this.#zone = new ZoneDays(timeZone, { hourCycle: 'h23', weekday: 'long', hour: '2-digit' });
  }

  get timeZone(): string {
    return this.#zone.timeZone;
  }

  /** False if there were too many days to count them all. */
  get complete(): boolean {
    return this.#complete;
  }

  add(arrivalUs: number): void {
    const slot = this.#at(Math.floor(arrivalUs / SLOT_US));
    if (slot !== null) slot.day.requests[slot.hour]! += 1;
  }

  /** Adds a completely observed window. Its hours without arrivals are then known to be empty. */
  observe({ fromUs, toUs }: TimeRange): void {
    const first = Math.floor(fromUs / SLOT_US);
    const last = Math.floor((toUs - 1) / SLOT_US);
    if ((last - first) * SLOT_S > MAX_DAYS * 86_400) {
      this.#complete = false;
      return;
    }
    for (let index = first; index <= last; index += 1) {
      const slot = this.#at(index);
      if (slot === null) return;
      const observedUs = Math.min(toUs, (index + 1) * SLOT_US) - Math.max(fromUs, index * SLOT_US);
      slot.day.observedS[slot.hour]! += observedUs / US_PER_S;
    }
  }

  /** Days in order. */
  days(): LocalDay[] {
    return [...this.#days.values()].sort((a, b) => (a.day < b.day ? -1 : 1));
  }

  #at(index: number): Slot | null {
    if (index !== this.#slotIndex) {
      this.#slotIndex = index;
      this.#slot = this.#locate(index);
    }
    return this.#slot;
  }

  #locate(index: number): Slot | null {
    const { day, fields } = this.#zone.at(index * SLOT_US);
    let known = this.#days.get(day);
    if (known === undefined) {
      if (this.#days.size >= MAX_DAYS) {
        this.#complete = false;
        return null;
      }
      known = {
        day,
        weekday: (WEEKDAYS as readonly string[]).indexOf(fields.get('weekday') ?? ''),
        requests: new Float64Array(24),
        observedS: new Float64Array(24),
      };
      this.#days.set(day, known);
    }
    return { day: known, hour: Number(fields.get('hour')) };
  }
}

/** A day with fewer complete hours has no visible shape. */
const MIN_HOURS = 6;
/** A day is compared with at least this many days of the same weekday or kind, or with one more of any kind. */
const MIN_PEERS = 2;
/** A day is unusual if it differs by more than days usually do, and by more than a least amount. */
const MAD_TO_SIGMA = 1.4826;
const SIGMAS = 3;
const LEAST_VOLUME = Math.log(1.3);
const LEAST_SHAPE = 0.15;
const SATURDAY = 5;

interface Judged extends Omit<UnusualDay, 'reasons' | 'volumeRatio'> {
  readonly logRatio: number;
}

/**
 * Names the days that differ in volume or shape from similar days: the same weekday; if these are too few, workdays or
 * weekends; else all. The usual value of an hour is the median of those days. The usual difference is the median
 * absolute deviation over all days. A single odd day changes neither.
 */
export function unusualDays(days: readonly LocalDay[]): UnusualDays {
  const usable = days.filter((day) => wholeHours(day).length >= MIN_HOURS);
  const judged = usable.flatMap((day) => judge(day, usable) ?? []);
  const volume = limitOf(judged.map(({ logRatio }) => logRatio));
  const shape = limitOf(judged.map(({ shapeDistance }) => shapeDistance));
  return {
    compared: judged.length,
    days: judged.flatMap(({ logRatio, ...day }) => {
      const reasons: ('volume' | 'shape')[] = [];
      if (Math.abs(logRatio - volume.median) > Math.max(LEAST_VOLUME, volume.spread)) reasons.push('volume');
      if (day.shapeDistance > Math.max(LEAST_SHAPE, shape.median + shape.spread)) reasons.push('shape');
      const ratio = Math.exp(logRatio);
      const volumeRatio = Number.isFinite(ratio) ? ratio : null;
      return reasons.length === 0 ? [] : [{ ...day, reasons, volumeRatio }];
    }),
  };
}

function judge(day: LocalDay, all: readonly LocalDay[]): Judged | null {
  const others = peersOf(day, all);
  if (others === null) return null;
  const hours = wholeHours(day).filter((hour) => others.days.some((other) => isWhole(other, hour)));
  if (hours.length < MIN_HOURS) return null;
  const mine = hours.map((hour) => rateOf(day, hour));
  const usual = hours.map((hour) =>
    median(others.days.filter((other) => isWhole(other, hour)).map((other) => rateOf(other, hour))),
  );
  const [mineSum, usualSum] = [sumOf(mine), sumOf(usual)];
  const worst = hours.reduce(
    (most, _, at) => (Math.abs(mine[at]! - usual[at]!) > Math.abs(mine[most]! - usual[most]!) ? at : most),
    0,
  );
  return {
    day: day.day,
    weekday: WEEKDAYS[day.weekday] ?? '',
    comparedWith: others.name,
    logRatio: mineSum === usualSum ? 0 : Math.log(mineSum / usualSum),
    shapeDistance:
      mineSum === 0 || usualSum === 0
        ? 0
        : sumOf(mine.map((rate, at) => Math.abs(rate / mineSum - usual[at]! / usualSum))) / 2,
    hour: hours[worst]!,
    hourMean: mine[worst]!,
    hourUsual: usual[worst]!,
  };
}

function peersOf(
  day: LocalDay,
  all: readonly LocalDay[],
): { name: string; days: readonly LocalDay[] } | null {
  const others = all.filter((other) => other !== day);
  const isWeekend = (each: LocalDay) => each.weekday >= SATURDAY;
  const same = others.filter((other) => other.weekday === day.weekday);
  if (same.length >= MIN_PEERS) return { name: `other ${WEEKDAYS[day.weekday]}s`, days: same };
  const kind = others.filter((other) => isWeekend(other) === isWeekend(day));
  if (kind.length >= MIN_PEERS) {
    return { name: isWeekend(day) ? 'other weekend days' : 'other workdays', days: kind };
  }
  return others.length > MIN_PEERS ? { name: 'all other days', days: others } : null;
}

/** The median, and three standard deviations estimated from the median absolute deviation. */
function limitOf(values: readonly number[]): { median: number; spread: number } {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return { median: 0, spread: 0 };
  const middle = median(finite);
  return {
    median: middle,
    spread: SIGMAS * MAD_TO_SIGMA * median(finite.map((value) => Math.abs(value - middle))),
  };
}

function wholeHours(day: LocalDay): number[] {
  return Array.from({ length: 24 }, (_, hour) => hour).filter((hour) => isWhole(day, hour));
}

function isWhole({ observedS }: LocalDay, hour: number): boolean {
  return observedS[hour]! >= WHOLE_HOUR_S;
}

function rateOf(day: LocalDay, hour: number): number {
  return day.requests[hour]! / day.observedS[hour]!;
}

function median(values: readonly number[]): number {
  const ordered = values.toSorted((a, b) => a - b);
  const half = Math.floor(ordered.length / 2);
  return ordered.length % 2 === 1 ? ordered[half]! : (ordered[half - 1]! + ordered[half]!) / 2;
}

function sumOf(values: readonly number[] | Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}
