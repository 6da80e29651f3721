import type { Fidelity } from '../../analysis/run/fidelity.ts';
import { AppError } from '../../core/errors.ts';
import type { CaptureSource } from '../../core/ports.ts';
import { linesOf } from '../../core/text.ts';
import { countOf, formatInstantUs, formatMs } from '../../core/units.ts';
import type { WindowsDocument } from '../../documents/replay.ts';
import { describeFilters, rowFilterOf } from '../../replay/filter.ts';
import type { ReplayOptions } from '../../replay/options/replay-options.ts';
import type { Filters } from '../../replay/options/window-options.ts';
import type { PlanEnd } from '../../replay/plan/forecast.ts';
import { isSequence, Playback } from '../../replay/window/playback.ts';
import type { ReplayWindow } from '../../replay/window/window.ts';
import type { OpenedCapture } from '../open-capture.ts';

/** Up to this number, windows are listed one by one. */
const LISTED_WINDOWS = 8;

/** The source of a plan. Create a new one for each pass over the plan. */
export function playbackOf(source: CaptureSource, window: ReplayWindow, filters: Filters): Playback {
  return new Playback({ source, window, selection: rowFilterOf(filters, (row) => source.payload(row)) });
}

/** The overview of a capture with the coverage of the selected windows. */
export function withinWindow(
  opened: OpenedCapture,
  window: ReplayWindow,
): Pick<OpenedCapture, 'overview' | 'unexplained'> {
  const { coverage, unexplained } = opened.coverageWithin(window.coverageRanges);
  return { overview: { ...opened.overview, coverage }, unexplained };
}

/** @throws AppError OPTION_INVALID for superposed parts with a sequence of windows */
export function assertScalable({ scaling }: ReplayOptions, window: ReplayWindow): void {
  if (scaling !== 'superpose' || !isSequence(window)) return;
  throw new AppError('OPTION_INVALID', '--scaling superpose needs one window that is played once', {
    hint: 'Give one window without --loop or --duration, or use --scaling amplify.',
  });
}

/** Lines about the windows, before the replay. */
export function windowLines(window: ReplayWindow, end: PlanEnd, filters: Filters): string[] {
  return [
    ...foundLines(window),
    ...sequenceLines(window, end),
    ...durationLines(window, end),
    ...filterLines(filters),
  ];
}

/** The windows as a document for programs. */
export function windowsDocument(
  window: ReplayWindow,
  filters: Filters,
  playback: Playback | null,
): WindowsDocument {
  return {
    windows: window.parts.map(({ fromUs, toUs }, at) => ({
      from: formatInstantUs(fromUs),
      to: formatInstantUs(toUs - 1),
      exchanges: playback?.counts[at]?.exchanges ?? null,
      selected: playback?.counts[at]?.selected ?? null,
    })),
    windowSearch: window.found,
    loops: window.loops,
    passes: playback?.passes ?? null,
    seam: isSequence(window) ? 'edge_to_edge_at_least_mean_gap' : null,
    maxDurationS: window.durationNs === null ? null : window.durationNs / 1e9,
    filters: describeFilters(filters).length === 0 ? null : filters,
  };
}

/** Lines about the replayed sequence of windows; empty for a single window. */
export function playedLines(window: ReplayWindow, { counts, passes }: Playback): string[] {
  if (!isSequence(window)) return [];
  const each = counts.slice(0, LISTED_WINDOWS).map(({ selected }) => selected);
  const more = counts.length > LISTED_WINDOWS ? ' …' : '';
  return [
    `  windows played: ${counts.length}, passes: ${passes}; exchanges by window: ${each.join(', ')}${more}`,
  ];
}

/** The effect of the filters on the arrivals; empty without filters. */
export function unfilteredLines({
  recorded,
  unfiltered,
}: Pick<Fidelity, 'recorded' | 'unfiltered'>): string[] {
  if (unfiltered === null) return [];
  const text = (value: number | null) => (value === null ? '–' : value.toFixed(3));
  const { count, ratePerSecond, cv, idc } = unfiltered;
  return [
    `  before the filter: ${countOf(count, 'exchange')} (kept: ${recorded.count}), ${text(ratePerSecond)}/s, CV ${text(cv)}, IDC 1 s ${text(idc['1'])}, 60 s ${text(idc['60'])}`,
  ];
}

function foundLines({ found }: ReplayWindow): string[] {
  if (found === null) return [];
  const length = formatMs((found.toSecond - found.fromSecond) * 1e3);
  const latency =
    found.meanLatencyMs === null ? '' : `, mean recorded latency ${formatMs(found.meanLatencyMs)}`;
  const name = found.kind === 'busiest' ? 'busiest' : 'slowest (by mean recorded latency)';
  return [`  the ${name} ${length} of the capture: ${countOf(found.exchanges, 'exchange')}${latency}`];
}

function sequenceLines(window: ReplayWindow, end: PlanEnd): string[] {
  const { parts, loops } = window;
  const listed = parts.slice(0, LISTED_WINDOWS);
  const repeats = end.playedUs > parts.reduce((sum, { fromUs, toUs }) => sum + toUs - fromUs, 0);
  const isLooped = loops !== null && loops > 1;
  return linesOf(
    parts.length > 1 && [
      `  ${parts.length} windows, one after the other:`,
      ...listed.map(({ fromUs, toUs }) => `    ${formatInstantUs(fromUs)} to ${formatInstantUs(toUs - 1)}`),
    ],
    parts.length > LISTED_WINDOWS && `    and ${parts.length - LISTED_WINDOWS} more`,
    isLooped && `  played ${end.with === 'windows' ? '' : 'up to '}${countOf(loops, 'time')}`,
    !isLooped &&
      repeats &&
      `  repeated until the ${end.with === 'stages' ? 'stages are' : 'duration is'} over`,
    (parts.length > 1 || repeats) &&
      '  seam: edge to edge, with the silence that windows have there, and at least one mean gap',
    repeats && '    payloads, sessions and keys repeat with each pass, and meet warm caches: see duplicates',
  );
}

/** The effect of the requested duration, if any. */
function durationLines({ durationNs }: ReplayWindow, end: PlanEnd): string[] {
  if (durationNs === null) return [];
  const line = `  the plan ends after ${formatMs(end.offsetNs / 1e6)} of the run`;
  if (durationNs <= end.offsetNs) return [line];
  return [`${line}, with its ${end.with}: --duration ${formatMs(durationNs / 1e6)} is longer`];
}

function filterLines(filters: Filters): string[] {
  const named = describeFilters(filters);
  if (named.length === 0) return [];
  return [
    `  only ${named.join('; ')}`,
    '    counts and peaks of this plan are for all traffic. Filtered traffic has gaps, other bursts and fewer',
    '    requests at once; sessions may lack some of their requests',
  ];
}
