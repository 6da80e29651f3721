import { AppError } from './errors.ts';
import { HOUR_US, US_PER_S } from './units.ts';

/** Cached hours: ten years. */
const REMEMBERED_MAX = 100_000;

/** The part of a UTC hour that belongs to one day, in whole seconds since the epoch. */
interface DayPart {
  /** `2026-11-24` */
  readonly day: string;
  readonly fromSecond: number;
  readonly toSecond: number;
}

/** The days of a time zone. A UTC hour is split where a day begins within it. */
export class DayCalendar {
  readonly #zone: ZoneDays;
  readonly #parts = new Map<number, readonly DayPart[]>();

  /** @throws AppError OPTION_INVALID for an unknown zone */
  constructor(timeZone: string) {
    this.#zone = new ZoneDays(timeZone);
  }

  get timeZone(): string {
    return this.#zone.timeZone;
  }

  /** The parts of an hour (counted from the epoch) by day. */
  partsOf(hour: number): readonly DayPart[] {
    const known = this.#parts.get(hour);
    if (known !== undefined) return known;
    if (this.#parts.size >= REMEMBERED_MAX) this.#parts.clear();
    const parts = this.#cut(hour);
    this.#parts.set(hour, parts);
    return parts;
  }

  dayOf(epochUs: number): string {
    return this.#zone.at(epochUs).day;
  }

  #cut(hour: number): DayPart[] {
    const fromSecond = (hour * HOUR_US) / US_PER_S;
    const toSecond = fromSecond + 3_600;
    const first = this.dayOf(fromSecond * US_PER_S);
    const last = this.dayOf((toSecond - 1) * US_PER_S);
    if (first === last) return [{ day: first, fromSecond, toSecond }];
    // Offsets of half and quarter hours exist. Search the first second of the next day.
    let [before, after] = [fromSecond, toSecond - 1];
    while (after - before > 1) {
      const middle = Math.floor((before + after) / 2);
      if (this.dayOf(middle * US_PER_S) === first) before = middle;
      else after = middle;
    }
    return [
      { day: first, fromSecond, toSecond: after },
      { day: last, fromSecond: after, toSecond },
    ];
  }
}

/** Days of a time zone as ISO dates, with additional requested fields. */
export class ZoneDays {
  readonly timeZone: string;
  readonly #format: Intl.DateTimeFormat;

  /** @throws AppError OPTION_INVALID for an unknown zone */
  constructor(timeZone: string, besides: Intl.DateTimeFormatOptions = {}) {
    this.timeZone = timeZone;
    try {
      this.#format = new Intl.DateTimeFormat('en-US', {
        timeZone,
        calendar: 'iso8601',
        numberingSystem: 'latn',
        year: 'numeric',
        month: '2-digit',
        day: '2-digit',
        ...besides,
      });
    } catch (error) {
      throw new AppError('OPTION_INVALID', `--tz: ${JSON.stringify(timeZone)} is not a time zone`, {
        hint: 'Give a name such as Europe/Berlin, an offset such as +05:30, or UTC.',
        cause: error,
      });
    }
  }

  /** The day as `2026-11-24`, and the additional requested fields. */
  at(epochUs: number): { readonly day: string; readonly fields: ReadonlyMap<string, string> } {
    const parts = this.#format.formatToParts(epochUs / 1000);
    const fields = new Map<string, string>(parts.map(({ type, value }) => [type, value]));
    const day = `${fields.get('year')?.padStart(4, '0')}-${fields.get('month')}-${fields.get('day')}`;
    return { day, fields };
  }
}

const CLOCK_TIME = { hourCycle: 'h23', hour: '2-digit', minute: '2-digit', second: '2-digit' } as const;
const clocks = new Map<string, ZoneDays>();

/** An instant in a time zone as all pages show it: `2026-11-24 14:03:07`. */
export function zonedTime(epochMs: number, timeZone: string): string {
  const clock = clocks.get(timeZone) ?? new ZoneDays(timeZone, CLOCK_TIME);
  clocks.set(timeZone, clock);
  const { day, fields } = clock.at(epochMs * 1e3);
  return `${day} ${fields.get('hour')}:${fields.get('minute')}:${fields.get('second')}`;
}

/** Checks and returns the name of a time zone. @throws AppError OPTION_INVALID if it is unknown */
export function parseTimeZone(name: string): string {
  return new ZoneDays(name).timeZone;
}
