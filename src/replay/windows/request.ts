import { AppError, type Problems } from '../../core/errors.ts';
import { parseCount, parseInstantUs, parsePositiveMs } from '../../core/units.ts';
import { calendarOf, rangeOfDay } from './days.ts';
import type { SearchKind } from './search.ts';

/** What was asked for: texts as they stand on the command line. */
export interface RawWindowOptions {
  readonly from?: string | readonly string[] | undefined;
  readonly to?: string | readonly string[] | undefined;
  readonly day?: readonly string[] | undefined;
  readonly tz?: string | undefined;
  readonly peak?: string | undefined;
  readonly worst?: string | undefined;
  readonly recorder?: readonly string[] | undefined;
  readonly loop?: string | undefined;
  readonly duration?: string | undefined;
}

export const WINDOW_DEFAULTS = Object.freeze({ tz: 'UTC' });

/** A window as it was asked for; a side that is null ends with the capture. */
export interface AskedRange {
  readonly fromUs: number | null;
  readonly toUs: number | null;
}

/** Which windows are played, and how often. Plain data: it travels to a thread. */
export interface WindowRequest {
  /** In the order they are played; never empty. */
  readonly ranges: readonly AskedRange[];
  /** One stretch is looked for within the ranges, and played instead of them. */
  readonly search: { readonly kind: SearchKind; readonly lengthS: number } | null;
  /** Recorders whose exchanges are played; empty for all of them. */
  readonly recorders: readonly string[];
  /** How often; null for as often as the duration takes. */
  readonly loops: number | null;
  /** The plan ends there, in run time. Null for the end of the last window. */
  readonly durationMs: number | null;
}

const MAX_RANGES = 366;
const MAX_LOOPS = 1_000_000;
const OPEN: readonly AskedRange[] = [{ fromUs: null, toUs: null }];

/** Resolves what was asked for; what is wrong with it goes to `problems`. */
export function resolveWindowRequest(raw: RawWindowOptions, problems: Problems): WindowRequest {
  const durationMs = problems.optional(raw.duration, (text) => parsePositiveMs(text, '--duration'));
  return {
    ranges: rangesOf(raw, problems),
    search: searchOf(raw, problems),
    recorders: (raw.recorder ?? []).map((id) => id.trim()),
    loops: problems.optional(raw.loop, parseLoops) ?? (durationMs === null ? 1 : null),
    durationMs,
  };
}

/** For who reads the zone for nothing but days: one that is stated, and has none, would be ignored. */
export function checkZoneIsOfDays({ tz, day = [] }: RawWindowOptions, problems: Problems): void {
  if (day.length > 0 || (tz ?? WINDOW_DEFAULTS.tz) === WINDOW_DEFAULTS.tz) return;
  problems.add('--tz is the zone of --day, and no day is asked for');
}

function rangesOf(raw: RawWindowOptions, problems: Problems): readonly AskedRange[] {
  const from = listOf(raw.from);
  const to = listOf(raw.to);
  const days = raw.day ?? [];
  const calendar = problems.attempt(() => calendarOf(raw.tz ?? WINDOW_DEFAULTS.tz), null);
  // An instant without an offset is one of UTC, which is not what is meant beside another zone.
  if ((raw.tz ?? WINDOW_DEFAULTS.tz) !== WINDOW_DEFAULTS.tz && [...from, ...to].some(lacksOffset)) {
    problems.add('--tz is the zone of --day; an instant has its offset, such as 2026-11-20T10:00+01:00');
  }
  if (days.length > 0 && from.length + to.length > 0) {
    problems.add('--day stands beside --from or --to: give days, or windows');
    return OPEN;
  }
  if (Math.max(days.length, from.length, to.length) > MAX_RANGES) {
    problems.add(`more than ${MAX_RANGES} windows were asked for`);
    return OPEN;
  }
  if (days.length > 0) {
    if (calendar === null) return OPEN;
    return days.map((day) =>
      problems.attempt<AskedRange>(() => rangeOfDay(day, calendar), OPEN[0] as AskedRange),
    );
  }
  if (Math.max(from.length, to.length) > 1 && from.length !== to.length) {
    problems.add(`${from.length} of --from and ${to.length} of --to make no pairs`);
    return OPEN;
  }
  const pairs = Array.from({ length: Math.max(1, from.length, to.length) }, (_, at) =>
    askedRange(from[at], to[at], problems),
  );
  return pairs;
}

function askedRange(from: string | undefined, to: string | undefined, problems: Problems): AskedRange {
  const fromUs = problems.optional(from, (text) => parseInstantUs(text, '--from'));
  const toUs = problems.optional(to, (text) => parseInstantUs(text, '--to'));
  if (fromUs !== null && toUs !== null && fromUs >= toUs)
    problems.add(`--from ${from} is not before --to ${to}`);
  return { fromUs, toUs };
}

function searchOf({ peak, worst }: RawWindowOptions, problems: Problems): WindowRequest['search'] {
  if (peak !== undefined && worst !== undefined) problems.add('--peak and --worst are one at a time');
  const lengthS = (text: string, flag: string) => {
    const seconds = parsePositiveMs(text, flag) / 1_000;
    if (Number.isInteger(seconds)) return seconds;
    throw new AppError(
      'OPTION_INVALID',
      `${flag}: ${text} is not in whole seconds, which is what roll-ups count`,
    );
  };
  const busiest = problems.optional(peak, (text) => lengthS(text, '--peak'));
  if (busiest !== null) return { kind: 'busiest', lengthS: busiest };
  const slowest = problems.optional(worst, (text) => lengthS(text, '--worst'));
  return slowest === null ? null : { kind: 'slowest', lengthS: slowest };
}

function lacksOffset(instant: string): boolean {
  return !/(?:Z|[+-]\d{2}:?\d{2})\s*$/i.test(instant);
}

function parseLoops(text: string): number {
  const loops = parseCount(text, '--loop');
  if (loops <= MAX_LOOPS) return loops;
  throw new AppError('OPTION_INVALID', `--loop: ${text} is more than ${MAX_LOOPS}`);
}

function listOf(texts: string | readonly string[] | undefined): readonly string[] {
  if (texts === undefined) return [];
  return typeof texts === 'string' ? [texts] : texts;
}
