import type { DayCalendar } from '../../core/calendar.ts';
import type { TimeRange } from '../../core/ports.ts';
import { HOUR_US, parseInstantUs, refused, US_PER_S } from '../../core/units.ts';
import type { WindowsDocument } from '../../documents/replay.ts';
import type { SecondSums } from './capture.ts';

/** `busiest`: most arrivals. `slowest`: the greatest mean of recorded latencies. */
export type SearchKind = 'busiest' | 'slowest';

export interface StretchSearch {
  readonly kind: SearchKind;
  /** Length of the searched window, whole seconds. */
  readonly lengthS: number;
  /** The range to search in, epoch seconds. */
  readonly fromSecond: number;
  readonly toSecond: number;
  /** A window needs at least this many known latencies; only for `slowest`. */
  readonly minLatencies: number;
}

/** A window of whole seconds with its figures from the roll-ups. */
export type FoundStretch = Omit<NonNullable<WindowsDocument['windowSearch']>, 'kind'>;

/**
 * Finds the best window in one pass over seconds in ascending order; of equal ones, the earliest. Only the seconds of
 * one window are in memory. Null if no window qualifies.
 *
 * While the window slides, its content changes only when a second enters or leaves. So only these starts are examined:
 * the earliest ones after a second entered, and those after one left.
 */
export function findStretch(seconds: Iterable<SecondSums>, search: StretchSearch): FoundStretch | null {
  const sliding = new SlidingStretch(search);
  for (const each of seconds) {
    if (each.second >= search.fromSecond && each.second < search.toSecond) sliding.add(each);
  }
  return sliding.finish();
}

/** Seconds that have left are kept until this many can be removed at once. */
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

  /** Examines the first window, once. It is complete when the first second after it comes. */
  #lookAtFirst(): void {
    if (!this.#firstSeen) this.#look(this.#search.fromSecond);
    this.#firstSeen = true;
  }

  /** Moves the start forward. All windows examined on the way end before the second that is about to enter. */
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

/**
 * UTC hours before and after the start of a date that contain this day in any zone: offsets are from -12 to +14 hours.
 */
const HOURS_BEFORE = 15;
const HOURS_AFTER = 40;

/**
 * A day of a time zone, from its first second to the first second of the next day. It has 23 or 25 hours if the clocks
 * change.
 * @param day `2026-11-20`
 * @throws AppError OPTION_INVALID for an invalid date, and for a day that does not exist in the zone
 */
export function rangeOfDay(day: string, calendar: DayCalendar): TimeRange {
  const text = day.trim();
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) {
    throw refused('--window', day, 'is not a date', 'Give a day such as 2026-11-20, and its zone with --tz.');
  }
  const firstHour = parseInstantUs(text, '--window') / HOUR_US - HOURS_BEFORE;
  let fromSecond = Number.POSITIVE_INFINITY;
  let toSecond = Number.NEGATIVE_INFINITY;
  for (let hour = firstHour; hour < firstHour + HOURS_BEFORE + HOURS_AFTER; hour += 1) {
    for (const part of calendar.partsOf(hour)) {
      if (part.day !== text) continue;
      fromSecond = Math.min(fromSecond, part.fromSecond);
      toSecond = Math.max(toSecond, part.toSecond);
    }
  }
  if (toSecond <= fromSecond) throw refused('--window', text, `does not exist in ${calendar.timeZone}`);
  return { fromUs: fromSecond * US_PER_S, toUs: toSecond * US_PER_S };
}
