import { AppError } from '../../core/errors.ts';
import type { TimeRange } from '../../core/ports.ts';
import { formatInstantUs, formatMs, US_PER_S } from '../../core/units.ts';
import type { AskedRange, WindowRequest } from '../options/window-options.ts';
import type { CaptureOverview } from './capture.ts';
import { type FoundStretch, findStretch, type SearchKind } from './search.ts';

/** A window is judged by its latencies if it has at least this share of the mean number, and at least this number. */
const MIN_LATENCY_SHARE = 0.1;
const MIN_LATENCIES = 20;
const DAY_NS = 86_400e9;

/**
 * A slice of a capture. It ends at the last arrival that was known when it was chosen. `fromUs` and `toUs` are the
 * first and last instant of its parts.
 */
export interface CaptureSlice extends TimeRange {
  /** The parts in the requested order. */
  readonly parts: readonly TimeRange[];
  /** The requested ranges, for which coverage is computed. An open side extends to the limit of known data. */
  readonly coverageRanges: readonly TimeRange[];
  /** The result of a search; null if the window was stated. */
  readonly found: (FoundStretch & { readonly kind: SearchKind | 'hardest' }) | null;
}

/** A slice, and how long it is replayed. Plain data, because it goes to a thread. */
export interface ReplayWindow extends CaptureSlice {
  /** How often all parts are replayed; null to repeat them until the duration is over. */
  readonly loops: number | null;
  /** The plan ends before this instant of the run, nanoseconds; null without one. */
  readonly durationNs: number | null;
  /** Length of one pass over all parts, nanoseconds of run time at the multiplier. */
  readonly onceNs: number;
  /** Length of the replay if it spans the whole window, nanoseconds. */
  readonly plannedSpanNs: number;
}

/**
 * The requested slice, limited to the recorded time.
 * @throws AppError CAPTURE_EMPTY if it has no arrivals
 */
export function sliceOf(overview: CaptureOverview, asked: WindowRequest): CaptureSlice {
  const ranges = asked.ranges.map((range) => cut(overview, range));
  const found = asked.search === null ? null : find(overview, asked.search, asked.ranges);
  const parts = found === null ? ranges : [found.part];
  return {
    fromUs: Math.min(...parts.map(({ fromUs }) => fromUs)),
    toUs: Math.max(...parts.map(({ toUs }) => toUs)),
    parts,
    coverageRanges: found === null ? asked.ranges.map(opened) : parts,
    found: found === null || asked.search === null ? null : { ...found.stretch, kind: asked.search.kind },
  };
}

/**
 * Chooses the window to replay.
 * @param stagedNs the latest end of the run, nanoseconds
 * @throws AppError CAPTURE_EMPTY if it has no arrivals, OPTION_INVALID if its replay would last too long
 */
export function chooseWindow(
  overview: CaptureOverview,
  asked: WindowRequest,
  multiplier: number,
  stagedNs = Number.POSITIVE_INFINITY,
): ReplayWindow {
  const slice = sliceOf(overview, asked);
  const durationNs = asked.durationMs === null ? null : Math.round(asked.durationMs * 1e6);
  const onceUs = slice.parts.reduce((sum, { fromUs, toUs }) => sum + toUs - 1 - fromUs, 0);
  const onceNs = (onceUs * 1000) / multiplier;
  return {
    ...slice,
    loops: asked.loops,
    durationNs,
    onceNs,
    plannedSpanNs: spanOf(
      onceNs,
      asked.loops,
      Math.min(durationNs ?? Number.POSITIVE_INFINITY, stagedNs),
      multiplier,
    ),
  };
}

/** A found window with its figures from roll-ups, and the part of it within the request. */
interface Found {
  readonly stretch: FoundStretch;
  readonly part: TimeRange;
}

/** The error for windows without arrivals. It names them, because several may have been requested. */
function nothingWithin(overview: CaptureOverview, ranges: readonly AskedRange[]): AppError {
  const { firstArrivalUs: firstUs, lastArrivalUs: lastUs } = overview;
  const span =
    firstUs === null || lastUs === null
      ? {}
      : { hint: `It holds ${formatInstantUs(firstUs)} to ${formatInstantUs(lastUs)}.` };
  const asked = ranges.length === 1 ? `the window ${askedText(ranges[0]!)}` : `the ${ranges.length} windows`;
  return new AppError('CAPTURE_EMPTY', `No exchange of ${overview.name} lies in ${asked}`, span);
}

function askedText({ fromUs, toUs }: AskedRange): string {
  const from = fromUs === null ? 'its begin' : formatInstantUs(fromUs);
  return `from ${from} to ${toUs === null ? 'its end' : formatInstantUs(toUs)}`;
}

function cut(overview: CaptureOverview, asked: AskedRange): TimeRange {
  const { firstArrivalUs: firstUs, lastArrivalUs: lastUs } = overview;
  if (firstUs === null || lastUs === null) {
    throw new AppError('CAPTURE_EMPTY', `The capture ${overview.name} holds no exchange`, {
      hint: 'Record some traffic first. reprise inspect shows lost and omitted traffic.',
    });
  }
  // Limited to the known arrivals, so that the plan does not grow while the capture is still recorded.
  const fromUs = Math.max(asked.fromUs ?? firstUs, firstUs);
  const toUs = Math.min(asked.toUs ?? lastUs + 1, lastUs + 1);
  if (fromUs >= toUs) throw nothingWithin(overview, [asked]);
  return { fromUs, toUs };
}

function opened({ fromUs, toUs }: AskedRange): TimeRange {
  return { fromUs: fromUs ?? Number.MIN_SAFE_INTEGER, toUs: toUs ?? Number.MAX_SAFE_INTEGER };
}

function spanOf(onceNs: number, loops: number | null, mostNs: number, multiplier: number): number {
  const allNs = loops === null ? Number.POSITIVE_INFINITY : onceNs * loops;
  const spanNs = Math.min(allNs, mostNs);
  // Beyond this, nanoseconds of the run would not be exact.
  if (spanNs <= Number.MAX_SAFE_INTEGER) return spanNs;
  throw new AppError(
    'OPTION_INVALID',
    `at ${multiplier}x this window lasts ${(spanNs / DAY_NS).toFixed(1)} days; a replay or an export lasts at most 104 days`,
    { hint: 'Narrow the window with --window FROM..TO, end it with --duration, or raise --multiplier.' },
  );
}

function find(
  overview: CaptureOverview,
  { kind, lengthS }: NonNullable<WindowRequest['search']>,
  ranges: readonly AskedRange[],
): Found {
  if (kind === 'hardest') return hardestOf(overview, lengthS, ranges);
  const enough = kind === 'slowest' ? enoughLatencies(overview, lengthS) : 0;
  const bestWith = (minLatencies: number) => bestOf(overview, { kind, lengthS, minLatencies }, ranges);
  // If the request has only quiet hours, none may have a tenth of the mean, so the limit is lowered.
  const chosen = bestWith(enough) ?? bestWith(Math.min(enough, MIN_LATENCIES));
  if (chosen !== null) return chosen;
  if (kind === 'busiest') throw nothingWithin(overview, ranges);
  if (bestWith(1) !== null) throw tooFewLatencies(overview, lengthS);
  throw new AppError('CAPTURE_EMPTY', `No latency was recorded in the window of ${overview.name}`, {
    hint: 'Imported arrivals have no latencies; use --window peak=15m to find the busiest window.',
  });
}

/** The hardest window, with its figures from roll-ups. */
function hardestOf(overview: CaptureOverview, lengthS: number, ranges: readonly AskedRange[]): Found {
  const part = overview.hardest(
    lengthS,
    ranges.map((range) => cut(overview, range)),
  );
  const sums = { exchanges: 0, latencyCount: 0, latencySumUs: 0 };
  for (const each of overview.seconds(part)) {
    for (const key of ['exchanges', 'latencyCount', 'latencySumUs'] as const) sums[key] += each[key];
  }
  const { exchanges, latencyCount, latencySumUs } = sums;
  const stretch = {
    fromSecond: Math.floor(part.fromUs / US_PER_S),
    toSecond: Math.ceil(part.toUs / US_PER_S),
    exchanges,
    meanLatencyMs: latencyCount === 0 ? null : latencySumUs / latencyCount / 1e3,
  };
  return { stretch, part };
}

/** The error if windows have too few latencies: one slow answer among a few does not show a slow service. */
function tooFewLatencies({ name }: CaptureOverview, lengthS: number): AppError {
  const length = formatMs(lengthS * 1e3);
  return new AppError(
    'CAPTURE_EMPTY',
    `--window worst: no window of ${length} in ${name} has the ${MIN_LATENCIES} recorded latencies that are needed`,
    { hint: `Use a longer window, the busiest window (--window peak=15m), or give one (--window FROM..TO).` },
  );
}

function bestOf(
  overview: CaptureOverview,
  search: { readonly kind: SearchKind; readonly lengthS: number; readonly minLatencies: number },
  ranges: readonly AskedRange[],
): Found | null {
  let best: Found | null = null;
  for (const asked of ranges) {
    const range = cut(overview, asked);
    const stretch = findStretch(overview.seconds(range), { ...search, ...secondsWithin(range, asked) });
    if (stretch === null) continue;
    if (best !== null && scoreOf(search.kind, stretch) <= scoreOf(search.kind, best.stretch)) continue;
    const fromUs = Math.max(range.fromUs, stretch.fromSecond * US_PER_S);
    best = { stretch, part: { fromUs, toUs: Math.min(range.toUs, stretch.toSecond * US_PER_S) } };
  }
  return best;
}

function scoreOf(kind: SearchKind, found: FoundStretch): number {
  return kind === 'busiest' ? found.exchanges : (found.meanLatencyMs ?? 0);
}

/** The whole seconds within the request. At the first or last arrival they may extend beyond it, where nothing is. */
function secondsWithin(range: TimeRange, asked: AskedRange): { fromSecond: number; toSecond: number } {
  const opensWithin = asked.fromUs === range.fromUs;
  const endsWithin = asked.toUs === range.toUs;
  const fromSecond = Math[opensWithin ? 'ceil' : 'floor'](range.fromUs / US_PER_S);
  const toSecond = Math[endsWithin ? 'floor' : 'ceil'](range.toUs / US_PER_S);
  // Less than a second was requested: use its second, which is limited to the range later.
  return toSecond > fromSecond ? { fromSecond, toSecond } : { fromSecond: toSecond, toSecond: toSecond + 1 };
}

function enoughLatencies(overview: CaptureOverview, lengthS: number): number {
  const [fromUs, lastUs] = [overview.firstArrivalUs ?? 0, overview.lastArrivalUs ?? 0];
  let latencies = 0;
  for (const { latencyCount } of overview.seconds({ fromUs, toUs: lastUs + 1 })) latencies += latencyCount;
  const spanS = (lastUs - fromUs) / US_PER_S;
  const mean = spanS > lengthS ? (latencies * lengthS) / spanS : latencies;
  return Math.max(MIN_LATENCIES, Math.ceil(mean * MIN_LATENCY_SHARE));
}
