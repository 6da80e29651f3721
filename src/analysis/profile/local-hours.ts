import { ZoneDays } from '../../core/calendar.ts';
import type { TimeRange } from '../../core/ports.ts';

/** A day of a time zone, hour by hour. */
export interface LocalDay {
  /** `2026-11-24` */
  readonly day: string;
  /** 0 is Monday. */
  readonly weekday: number;
  /** Arrivals in each of its hours, 0 to 23. */
  readonly requests: Float64Array;
  /** How much of the hour lies in the windows, seconds; 7,200 where clocks are put back. */
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
export const HOURS_OF_WEEK = 168;

/** Offsets of all zones since 1972 are whole quarters of an hour. */
const SLOT_US = 900_000_000;
const SLOT_S = 900;
const US_PER_S = 1e6;
/** Three years of days; what spans more has no cycle to tell of. */
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

  /** @throws AppError OPTION_INVALID for a zone nobody knows. */
  constructor(timeZone: string) {
    this.#zone = new ZoneDays(timeZone, { hourCycle: 'h23', weekday: 'long', hour: '2-digit' });
  }

  get timeZone(): string {
    return this.#zone.timeZone;
  }

  /** False where there were too many days to count them all. */
  get complete(): boolean {
    return this.#complete;
  }

  add(arrivalUs: number): void {
    const slot = this.#at(Math.floor(arrivalUs / SLOT_US));
    if (slot !== null) slot.day.requests[slot.hour]! += 1;
  }

  /** Tells that a window was looked at whole: hours of it without arrivals are known to be empty. */
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
