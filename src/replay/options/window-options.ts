import { DayCalendar } from '../../core/calendar.ts';
import type { Problems } from '../../core/errors.ts';
import {
  grouped,
  kebab,
  listOf,
  type OptionParser,
  ofOneRun,
  part,
  partAlone,
  partList,
  partsOf,
  type ResolvedOptions,
  text,
  value,
} from '../../core/options.ts';
import { parseBytes, parseInstantUs, parsePositiveMs, refused } from '../../core/units.ts';
import type { WindowsDocument } from '../../documents/replay.ts';
import { GRPC_STATUS_NAMES } from '../../inference/grpc.ts';
import { rangeOfDay, type SearchKind } from '../window/search.ts';
import { countTo, parseWholeSeconds } from './parsers.ts';

const UTC = 'UTC';
const MAX_RANGES = 366;
const MAX_LOOPS = 1_000_000;

/** A window as stated: a day, or from one instant to another. */
type StatedRange =
  | { readonly day: string }
  | { readonly day: null; readonly range: AskedRange; readonly lacksOffset: boolean };

const WINDOW_HINT =
  'Such as 2026-11-20 (a day), 2026-11-20T10:00Z..2026-11-20T11:00Z, 2026-11-20T10:00Z.. (to the end), peak=15m or hardest.';

const parseRange: OptionParser<StatedRange> = (given, what) => {
  if (/^\d{4}-\d{2}-\d{2}$/.test(given)) return { day: given };
  const [, from = '', to = ''] = /^(.*?)\.\.(.*)$/s.exec(given) ?? [];
  if (from + to === '') throw refused(what, given, 'is no window', WINDOW_HINT);
  const fromUs = from === '' ? null : parseInstantUs(from, what);
  const toUs = to === '' ? null : parseInstantUs(to, what);
  if (fromUs !== null && toUs !== null && fromUs >= toUs)
    throw refused(what, given, 'ends before it begins', WINDOW_HINT);
  return { day: null, range: { fromUs, toUs }, lacksOffset: [from, to].some(lacksOffset) };
};

/** The length of the windows that are ranked, if none is given. */
export const HARDEST_LENGTH = '15m';

const PART_OF_WINDOW = {
  range: part(parseRange),
  peak: part(parseWholeSeconds),
  worst: part(parseWholeSeconds),
  hardest: partAlone(parseWholeSeconds, HARDEST_LENGTH),
};

/** Options that select parts of a capture. @param verb what the command does with them */
export function stretchOptions(verb: string) {
  return grouped('Which part of the capture', {
    window: listOf(
      '--window <range|parts>',
      `${verb} this part: FROM..TO (ISO 8601), a day (2026-11-20), peak=15m (busiest), worst=15m (slowest), hardest`,
      partsOf(PART_OF_WINDOW, 'range'),
    ),
    tz: text('--tz <zone>', 'time zone of the days', { default: UTC }),
  });
}

const NAMED_STATUS = new RegExp(`^(?:${GRPC_STATUS_NAMES.join('|')})$`, 'i');
const STATUS = new RegExp(`^(?:[1-5]xx|[1-5]\\d\\d|none)$|${NAMED_STATUS.source}`, 'i');

const FILTER_PARTS = {
  recorder: partList((id) => id.trim()),
  method: partList(alternatives(/^[A-Za-z-]+$/, 'a method such as POST', (method) => method.toUpperCase())),
  path: partList(alternatives(/^[/*]/, 'a path such as /v2/models/*/infer')),
  status: partList(
    alternatives(STATUS, 'a status such as 2xx, 429, none or UNAVAILABLE', (status) =>
      NAMED_STATUS.test(status) ? status.toUpperCase() : status.toLowerCase(),
    ),
  ),
  model: partList(alternatives(/./, 'a model')),
  clientHash: partList(
    alternatives(/^[0-9a-f]{16}$/i, 'the hash of a client, 16 hex digits', (hash) => hash.toLowerCase()),
  ),
  minBodySize: part(parseBytes),
  maxBodySize: part(parseBytes),
};

/** Options that select exchanges in these parts. */
export function selectionOptions(verb: string) {
  return grouped('Which requests', {
    filter: listOf(
      '--filter <part=value>',
      `${verb} only requests with path=GLOB, method=NAME, status=2xx|none|UNAVAILABLE, model=NAME, recorder=ID, client-hash=HASH, ` +
        'min-body-size=SIZE or max-body-size=SIZE; with one value of each part that is given',
      partsOf(FILTER_PARTS),
    ),
  });
}

/** Options for the replayed part of a capture, and for its repetitions. */
export const WINDOW_OPTIONS = {
  ...stretchOptions('replay'),
  ...ofOneRun(
    grouped('Load and scaling', {
      loop: value('--loop <n>', 'replay the windows this many times', countTo(MAX_LOOPS)),
      duration: value(
        '--duration <time>',
        'length of the plan; shorter windows are repeated',
        parsePositiveMs,
      ),
    }),
  ),
  ...selectionOptions('replay'),
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
  readonly search: { readonly kind: SearchKind | 'hardest'; readonly lengthS: number } | null;
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
  SelectionRead & { readonly loop?: number | null; readonly duration?: number | null };

/** The requested windows. Invalid ones are added to `problems`. */
export function windowRequestOf(read: WindowRead, problems: Problems): WindowRequest {
  const { window, loop = null, duration = null } = read;
  const searches = window.flatMap(({ peak, worst, hardest }) => [
    ...(peak === null ? [] : [{ kind: 'busiest', lengthS: peak } as const]),
    ...(worst === null ? [] : [{ kind: 'slowest', lengthS: worst } as const]),
    ...(hardest === null ? [] : [{ kind: 'hardest', lengthS: hardest } as const]),
  ]);
  if (searches.length > 1) problems.add('--window: one peak, one worst or the hardest can be searched');
  return {
    ranges: rangesOf(read, problems),
    search: searches[0] ?? null,
    recorders: read.filter.flatMap(({ recorder }) => recorder),
    loops: loop ?? (duration === null ? 1 : null),
    durationMs: duration,
  };
}

/** Call it if the time zone is only used for days. Without a day a stated zone would be ignored. */
export function checkZoneIsOfDays({ tz, window }: StretchRead, problems: Problems): void {
  if (window.some(({ range }) => range?.day != null) || tz === UTC) return;
  problems.add('--tz has no effect without a day, such as --window 2026-11-20');
}

function rangesOf({ window, tz }: StretchRead, problems: Problems): readonly AskedRange[] {
  const calendar = problems.attempt(() => new DayCalendar(tz), null);
  const stated = window.flatMap(({ range }) => (range === null ? [] : [range]));
  // An instant without an offset is in UTC, but with another zone the user probably means that zone.
  if (tz !== UTC && stated.some((each) => each.day === null && each.lacksOffset))
    problems.add('--tz applies to days; give instants with an offset, such as 2026-11-20T10:00+01:00');
  if (stated.length > MAX_RANGES) problems.add(`--window: more than ${MAX_RANGES} are given`);
  const ranges = stated.slice(0, MAX_RANGES).map((each): AskedRange => {
    if (each.day === null) return each.range;
    const { day } = each;
    return calendar === null ? OPEN : problems.attempt<AskedRange>(() => rangeOfDay(day, calendar), OPEN);
  });
  return ranges.length === 0 ? [OPEN] : ranges;
}

function lacksOffset(written: string): boolean {
  return written !== '' && !/(?:Z|[+-]\d{2}:?\d{2})\s*$/i.test(written);
}

/**
 * Which exchanges of a window are replayed: those that match one value of each non-empty list. Paths are globs without
 * a query, clients are keyed hashes, statuses are `429`, `2xx`, `none` or `UNAVAILABLE`. Plain data, because it is sent to a thread.
 */
export type Filters = NonNullable<WindowsDocument['filters']>;

const MAX_VALUES = 64;
const MAX_CHARS = 1_024;

/** The requested filters. Invalid ones are added to `problems`. */
export function filtersOf(read: SelectionRead, problems: Problems): Filters {
  type Part = Exclude<keyof typeof FILTER_PARTS, 'minBodySize' | 'maxBodySize' | 'recorder'>;
  const valuesOf = (key: Part) => {
    const values = read.filter.flatMap((each) => each[key]).flat();
    if (values.length > MAX_VALUES)
      problems.add(`--filter: ${values.length} values of ${kebab(key)} are more than ${MAX_VALUES}`);
    return values;
  };
  const sizeOf = (key: 'minBodySize' | 'maxBodySize') => {
    const [size = null, ...more] = read.filter.flatMap((each) => each[key] ?? []);
    if (more.length > 0) problems.add(`--filter: ${kebab(key)} is given twice`);
    return size;
  };
  const min = sizeOf('minBodySize');
  const max = sizeOf('maxBodySize');
  if (min !== null && max !== null && min > max)
    problems.add('--filter: min-body-size is more than max-body-size');
  return {
    methods: valuesOf('method'),
    paths: valuesOf('path'),
    statuses: valuesOf('status'),
    models: valuesOf('model'),
    clients: valuesOf('clientHash'),
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
