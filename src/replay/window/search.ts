import type { DayCalendar } from '../../core/calendar.ts';
import type { TimeRange } from '../../core/ports.ts';
import { HOUR_US, parseInstantUs } from '../../core/units.ts';
import type { WindowsDocument } from '../../documents/replay.ts';
import { refused } from '../options/parsers.ts';
import type { SecondSums } from './capture.ts';

/** `busiest`: most arrivals. `slowest`: the greatest mean of the recorded latencies. */
export type SearchKind = 'busiest' | 'slowest';

export interface StretchSearch {
  readonly kind: SearchKind;
  /** Of the stretch that is looked for, whole seconds. */
  readonly lengthS: number;
  /** It lies within these, seconds since the epoch. */
  readonly fromSecond: number;
  readonly toSecond: number;
  /** Fewer known latencies than this are no measure of a stretch; matters to `slowest` alone. */
  readonly minLatencies: number;
}

/** A stretch of whole seconds and what the roll-ups say of it. */
export type FoundStretch = Omit<NonNullable<WindowsDocument['windowSearch']>, 'kind'>;

/**
 * Finds the stretch in one pass over seconds, which come in order; the earliest where several are equal. Memory is
 * that of the seconds in one stretch. Null where none will do.
 *
 * Sliding the stretch changes what is in it only where a second enters or leaves: looked at are the earliest
 * starts with a second just entered, and those with one just left.
 */
export function findStretch(seconds: Iterable<SecondSums>, search: StretchSearch): FoundStretch | null {
  const sliding = new SlidingStretch(search);
  for (const each of seconds) {
    if (each.second >= search.fromSecond && each.second < search.toSecond) sliding.add(each);
  }
  return sliding.finish();
}

/** Seconds that have left are kept until so many can go at once. */
const FORGET_AFTER = 4_096;

class SlidingStretch {
  readonly #search: StretchSearch;
  readonly #lengthS: number;
  readonly #lastStart: number;
  readonly #held: SecondSums[] = [];
  #oldest = 0;
  #exchanges = 0;
  #latencies = 0;
  #latencySumUs = 0;
  #best: FoundStretch | null = null;
  #firstSeen = false;
  #bestScore = Number.NEGATIVE_INFINITY;

  constructor(search: StretchSearch) {
    this.#search = search;
    this.#lengthS = Math.min(search.lengthS, search.toSecond - search.fromSecond);
    this.#lastStart = search.toSecond - this.#lengthS;
  }

  add(each: SecondSums): void {
    const { fromSecond } = this.#search;
    if (each.second >= fromSecond + this.#lengthS) this.#lookAtFirst();
    const start = each.second - this.#lengthS + 1;
    this.#leaveBefore(start);
    this.#held.push(each);
    this.#sum(each, 1);
    if (start > fromSecond) this.#look(start);
  }

  finish(): FoundStretch | null {
    this.#lookAtFirst();
    this.#leaveBefore(this.#lastStart + 1);
    return this.#best;
  }

  /** The first stretch of all is whole when a second comes that lies behind it, and is looked at then, once. */
  #lookAtFirst(): void {
    if (!this.#firstSeen) this.#look(this.#search.fromSecond);
    this.#firstSeen = true;
  }

  /** Moves the start forward; what is looked at on the way ends before the second that is about to enter. */
  #leaveBefore(start: number): void {
    for (let oldest = this.#held[this.#oldest]; oldest !== undefined; oldest = this.#held[this.#oldest]) {
      if (oldest.second >= start) break;
      this.#oldest += 1;
      this.#sum(oldest, -1);
      if (oldest.second + 1 < start) this.#look(oldest.second + 1);
    }
    if (this.#oldest <= FORGET_AFTER) return;
    this.#held.splice(0, this.#oldest);
    this.#oldest = 0;
  }

  #look(start: number): void {
    if (start > this.#lastStart || this.#exchanges === 0) return;
    const { kind, minLatencies } = this.#search;
    if (kind === 'slowest' && this.#latencies < Math.max(1, minLatencies)) return;
    const score = kind === 'busiest' ? this.#exchanges : this.#latencySumUs / this.#latencies;
    if (score <= this.#bestScore) return;
    this.#bestScore = score;
    this.#best = {
      fromSecond: start,
      toSecond: start + this.#lengthS,
      exchanges: this.#exchanges,
      meanLatencyMs: this.#latencies === 0 ? null : this.#latencySumUs / this.#latencies / 1e3,
    };
  }

  #sum({ exchanges, latencyCount, latencySumUs }: SecondSums, sign: 1 | -1): void {
    this.#exchanges += sign * exchanges;
    this.#latencies += sign * latencyCount;
    this.#latencySumUs += sign * latencySumUs;
  }
}

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
    throw refused('--day', day, 'is not a date', 'Give a day such as 2026-11-20, and its zone with --tz.');
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
  if (toSecond <= fromSecond) throw refused('--day', text, `does not exist in ${calendar.timeZone}`);
  return { fromUs: fromSecond * SECOND_US, toUs: toSecond * SECOND_US };
}
