import { DayCalendar } from '../../core/calendar.ts';
import type { Problems } from '../../core/errors.ts';
import {
  grouped,
  list,
  listOf,
  type OptionParser,
  ofOneRun,
  type ResolvedOptions,
  text,
  value,
} from '../../core/options.ts';
import type { TimeRange } from '../../core/ports.ts';
import { parseBytes, parseInstantUs, parsePositiveMs } from '../../core/units.ts';
import type { WindowsDocument } from '../../documents/replay.ts';
import { rangeOfDay, type SearchKind } from '../window/search.ts';
import { countTo, parseWholeSeconds, refused } from './parsers.ts';

const UTC = 'UTC';
const MAX_RANGES = 366;
const MAX_LOOPS = 1_000_000;

/** An instant with its original text. */
export interface StatedInstant {
  readonly text: string;
  readonly us: number;
}

const instant: OptionParser<StatedInstant> = (given, what) => ({
  text: given,
  us: parseInstantUs(given, what),
});

/** Options that select parts of a capture. @param verb what the command does with them */
export function stretchOptions(verb: string) {
  return {
    ...partOptions(verb),
    ...grouped(PARTS, { tz: text('--tz <zone>', 'time zone of the days', { default: UTC }) }),
  };
}

const PARTS = 'Which part of the capture';

function partOptions(verb: string) {
  return grouped(PARTS, {
    from: listOf('--from <time>', 'start of a window, ISO 8601 (default: the first arrival)', instant),
    to: listOf('--to <time>', 'end of a window, exclusive (default: after the last arrival)', instant),
    day: list('--day <date>', 'a day as a window, such as 2026-11-20'),
    peak: value('--peak <time>', `${verb} the busiest window of this length, such as 15m`, parseWholeSeconds),
    worst: value(
      '--worst <time>',
      `${verb} the window of this length with the worst mean recorded latency`,
      parseWholeSeconds,
    ),
  });
}

/** The options of a replay that select parts of a capture. */
export const PART_OPTIONS = partOptions('play');

/** Options that select exchanges in these parts. */
export function selectionOptions(verb: string) {
  return grouped('Which requests', {
    recorder: listOf('--recorder <id>', `${verb} only requests of this recorder`, (id) => id.trim()),
    method: listOf(
      '--method <name>',
      `${verb} only requests with this method`,
      alternatives(/^[A-Za-z-]+$/, 'a method such as POST', (method) => method.toUpperCase()),
    ),
    path: listOf(
      '--path <glob>',
      `${verb} only requests to these paths; * matches within a segment, ** across segments`,
      alternatives(/^[/*]/, 'a path such as /v2/models/*/infer'),
    ),
    status: listOf(
      '--status <status>',
      `${verb} only requests with this status: 429, 2xx or none; 2xx|429 matches either`,
      alternatives(/^([1-5]xx|[1-5]\d\d|none)$/i, 'a status such as 2xx, 429 or none', (status) =>
        status.toLowerCase(),
      ),
    ),
    model: listOf(
      '--model <name>',
      `${verb} only requests to this model; * matches any characters`,
      alternatives(/./, 'a model'),
    ),
    clientHash: listOf(
      '--client-hash <hash>',
      `${verb} only requests of this client, given by its hash in the capture`,
      alternatives(/^[0-9a-f]{16}$/i, 'the hash of a client, 16 hex digits', (hash) => hash.toLowerCase()),
    ),
    minBodySize: value(
      '--min-body-size <size>',
      `${verb} only requests with a body of at least this size`,
      parseBytes,
    ),
    maxBodySize: value(
      '--max-body-size <size>',
      `${verb} only requests with a body of at most this size`,
      parseBytes,
    ),
  });
}

/** Options for the replayed part of a capture, and for its repetitions. */
export const WINDOW_OPTIONS = {
  ...stretchOptions('play'),
  ...ofOneRun(
    grouped('Load and scaling', {
      loop: value('--loop <n>', 'play the windows this many times', countTo(MAX_LOOPS)),
      duration: value(
        '--duration <time>',
        'length of the plan; shorter windows are repeated',
        parsePositiveMs,
      ),
    }),
  ),
  ...selectionOptions('play'),
};

/** A requested window. A null start or end means that of the capture. */
export interface AskedRange {
  readonly fromUs: number | null;
  readonly toUs: number | null;
}

/** Which windows are replayed, and how often. Plain data, because it is sent to a thread. */
export interface WindowRequest {
  /** In the order of the replay. Never empty. */
  readonly ranges: readonly AskedRange[];
  /** One window to search within the ranges and to replay instead of them. */
  readonly search: { readonly kind: SearchKind; readonly lengthS: number } | null;
  /** Recorders whose exchanges are replayed; empty for all. */
  readonly recorders: readonly string[];
  /** Number of passes; null for as many as the duration needs. */
  readonly loops: number | null;
  /** End of the plan in run time; null for the end of the last window. */
  readonly durationMs: number | null;
}

const OPEN: AskedRange = { fromUs: null, toUs: null };

type StretchRead = ResolvedOptions<ReturnType<typeof stretchOptions>>;
type SelectionRead = ResolvedOptions<ReturnType<typeof selectionOptions>>;
type WindowRead = StretchRead &
  Pick<SelectionRead, 'recorder'> & { readonly loop?: number | null; readonly duration?: number | null };

/** The requested windows. Invalid ones are added to `problems`. */
export function windowRequestOf(read: WindowRead, problems: Problems): WindowRequest {
  const { peak, worst, loop = null, duration = null } = read;
  if (peak !== null && worst !== null) problems.add('--peak and --worst cannot be combined');
  return {
    ranges: rangesOf(read, problems),
    search:
      peak !== null
        ? { kind: 'busiest', lengthS: peak }
        : worst === null
          ? null
          : { kind: 'slowest', lengthS: worst },
    recorders: read.recorder,
    loops: loop ?? (duration === null ? 1 : null),
    durationMs: duration,
  };
}

/** Call it if the time zone is only used for days. Without `--day` a stated zone would be ignored. */
export function checkZoneIsOfDays({ tz, day }: StretchRead, problems: Problems): void {
  if (day.length > 0 || tz === UTC) return;
  problems.add('--tz has no effect without --day');
}

function rangesOf({ from, to, day: days, tz }: StretchRead, problems: Problems): readonly AskedRange[] {
  const calendar = problems.attempt(() => new DayCalendar(tz), null);
  // An instant without an offset is in UTC, but with another zone the user probably means that zone.
  if (tz !== UTC && [...from, ...to].some(lacksOffset)) {
    problems.add('--tz applies to --day only; give instants with an offset, such as 2026-11-20T10:00+01:00');
  }
  if (days.length > 0 && from.length + to.length > 0) {
    problems.add('--day cannot be combined with --from or --to');
    return [OPEN];
  }
  if (Math.max(days.length, from.length, to.length) > MAX_RANGES) {
    problems.add(`more than ${MAX_RANGES} windows are given`);
    return [OPEN];
  }
  if (days.length > 0) {
    if (calendar === null) return [OPEN];
    return days.map((day) => problems.attempt<TimeRange | AskedRange>(() => rangeOfDay(day, calendar), OPEN));
  }
  if (Math.max(from.length, to.length) > 1 && from.length !== to.length) {
    problems.add(`${from.length} of --from and ${to.length} of --to do not pair up`);
    return [OPEN];
  }
  return Array.from({ length: Math.max(1, from.length, to.length) }, (_, at) => {
    const [begin, end] = [from[at], to[at]];
    if (begin !== undefined && end !== undefined && begin.us >= end.us) {
      problems.add(`--from ${begin.text} is not before --to ${end.text}`);
    }
    return { fromUs: begin?.us ?? null, toUs: end?.us ?? null };
  });
}

function lacksOffset({ text: written }: StatedInstant): boolean {
  return !/(?:Z|[+-]\d{2}:?\d{2})\s*$/i.test(written);
}

/**
 * Which exchanges of a window are replayed: those that match one value of each non-empty list. Paths are globs without
 * a query, clients are keyed hashes, statuses are `429`, `2xx` or `none`. Plain data, because it is sent to a thread.
 */
export type Filters = NonNullable<WindowsDocument['filters']>;

const MAX_VALUES = 64;
const MAX_CHARS = 1_024;

/** The requested filters. Invalid ones are added to `problems`. */
export function filtersOf(read: SelectionRead, problems: Problems): Filters {
  const flat = (flag: string, lists: readonly (readonly string[])[]) => {
    const values = lists.flat();
    if (values.length > MAX_VALUES)
      problems.add(`${flag}: ${values.length} values are more than ${MAX_VALUES}`);
    return values;
  };
  const { minBodySize: min, maxBodySize: max } = read;
  if (min !== null && max !== null && min > max) {
    problems.add('--min-body-size is more than --max-body-size');
  }
  return {
    methods: flat('--method', read.method),
    paths: flat('--path', read.path),
    statuses: flat('--status', read.status),
    models: flat('--model', read.model),
    clients: flat('--client-hash', read.clientHash),
    minRequestBytes: min,
    maxRequestBytes: max,
  };
}

/** Parses `2xx|429`: a request matches if it has one of these values. */
function alternatives(
  pattern: RegExp,
  expected: string,
  normal: (value: string) => string = (each) => each,
): OptionParser<readonly string[]> {
  return (given, what) =>
    given.split('|').map((each) => {
      const trimmed = each.trim();
      if (pattern.test(trimmed) && trimmed.length <= MAX_CHARS) return normal(trimmed);
      throw refused(what, trimmed, `is not ${expected}`);
    });
}
