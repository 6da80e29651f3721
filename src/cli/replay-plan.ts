import type { OpenedCapture } from '../app/open-capture.ts';
import { countOf, formatInstantUs, formatMs } from '../core/units.ts';
import type { JudgementBounds } from '../documents/replay.ts';
import type { CaptureOverview } from '../replay/capture-overview.ts';
import { type Forecast, forecastOf, planEndOf } from '../replay/forecast.ts';
import type { ReplayOptions } from '../replay/options.ts';
import { scalingDocument, scalingLines } from '../replay/scaling/description.ts';
import type { Scaling } from '../replay/scaling/scaling.ts';
import { chooseWindow, type ReplayWindow } from '../replay/window.ts';
import type { Playback } from '../replay/windows/playback.ts';
import { type LeadIn, leadInLines, requestsLeft, requestsOf } from './lead-in.ts';
import { askedMultiplier, scalingOf, slowestPace, stagedSpanNs } from './replay-scaling.ts';
import { sessionOrderLines } from './replay-session-order.ts';
import { assertScalable, playbackOf, windowLines, windowsDocument, withinWindow } from './replay-windows.ts';

/** What is known before an exchange is read. */
export interface ReplayPlan {
  readonly options: ReplayOptions;
  readonly overview: CaptureOverview;
  readonly window: ReplayWindow;
  readonly forecast: Forecast;
  readonly scaling: Scaling;
}

/** What is played of a capture, before its roll-ups are summed. */
export interface ReplayChoice extends Omit<ReplayPlan, 'forecast'> {
  readonly source: Playback;
  /** Recorded traffic that neither sampling nor an omission accounts for; null when unknown. */
  readonly unexplained: number | null;
}

/**
 * Chooses the windows and how they are scaled; reads no exchange, unless stretches are laid over each other.
 * @throws AppError CAPTURE_EMPTY where nothing lies in them, OPTION_INVALID where the capture does not hold what is
 *   asked for
 */
export function chooseReplay(opened: OpenedCapture, options: ReplayOptions): ReplayChoice {
  const chosen = chooseWindow(opened.overview, options.window, slowestPace(options), stagedSpanNs(options));
  assertScalable(options, chosen);
  const { overview, unexplained } = withinWindow(opened, chosen);
  const source = playbackOf(opened.source, chosen, options.filters);
  const scaling = scalingOf(options, overview, source, chosen);
  const window = { ...chosen, plannedSpanNs: planEndOf(scaling, chosen).offsetNs };
  return { options, overview, window, scaling, source, unexplained };
}

/** The choice with what it will ask of the target. */
export function planOf({ options, overview, window, scaling, source }: ReplayChoice): ReplayPlan {
  const forecast = forecastOf(overview, window, scaling, source.isSelective);
  return { options, overview, window, scaling, forecast };
}

const NO_LEAD_IN: LeadIn = { calibration: null, warmup: null };

/** Its first line, which needs no roll-ups. */
export function planTitle({ options, overview, window }: Omit<ReplayPlan, 'forecast'>): string {
  const against = options.target === null ? '' : ` against ${options.target.url}`;
  const from = formatInstantUs(window.fromUs);
  const to = formatInstantUs(window.toUs - 1);
  return `Plan: ${overview.name}${against} at ${options.multiplier}x, ${from} to ${to}`;
}

/** The rest of it. @param leadIn what is played before it, and counts as sent */
export function planLines(plan: ReplayPlan, leadIn: LeadIn = NO_LEAD_IN): string[] {
  const { options, window, forecast, overview, scaling } = plan;
  const end = planEndOf(scaling, window);
  const spanMs = window.plannedSpanNs / 1e6;
  const rate =
    spanMs > 0 ? `${(forecast.plannedExchanges / (spanMs / 1e3)).toFixed(3)}/s on average` : 'all at once';
  return [
    `  ${countOf(forecast.exchanges, 'exchange')} in ${formatMs(spanMs)}, ${rate}`,
    ...ceilingLines(plan, leadIn),
    ...leadInLines(leadIn),
    ...windowLines(window, end, options.filters),
    ...peakLines(forecast),
    ...scalingLines(scaling, end, window, forecast),
    ...sessionOrderLines(options, overview),
    ...coverageLines(overview),
    ...shardLines(options),
    ...timeShiftLines(options.shiftTime),
  ];
}

/** The same for a program. */
export function planDocument(plan: ReplayPlan): object {
  const { options, overview, window, forecast, scaling } = plan;
  const scalingPlan = scalingDocument(scaling, window, forecast);
  return {
    capture: overview.name,
    target: options.target?.url ?? null,
    window: { from: formatInstantUs(window.fromUs), to: formatInstantUs(window.toUs - 1) },
    ...windowsDocument(window, options.filters, null),
    multiplier: askedMultiplier(plan),
    scaling: options.scaling,
    scalingKeeps: scalingPlan.keeps,
    scalingBends: scalingPlan.bends,
    scalingPlan,
    sessionOrder: options.sessionOrder,
    maxRequests: options.maxRequests,
    shard: options.shard,
    startAt: options.startAtUs === null ? null : formatInstantUs(options.startAtUs),
    durationS: window.plannedSpanNs / 1e9,
    endsWith: planEndOf(scaling, window).with,
    peak: {
      second: forecast.peakSecond === null ? null : formatInstantUs(forecast.peakSecond * 1e6),
      recordedPerSecond: forecast.recordedPeakPerSecond,
      plannedPerSecondAtMost: forecast.plannedPeakPerSecond,
    },
    coverage: overview.coverage,
    shiftTime: options.shiftTime.map(({ pointer }) => pointer),
  };
}

/** What the ceilings that were stated leave of the plan, as far as can be told before it is read. */
function ceilingLines(plan: ReplayPlan, leadIn: LeadIn): string[] {
  const { maxRequests, maxRatePerSecond } = plan.options;
  const { plannedExchanges, plannedPeakPerSecond } = plan.forecast;
  const left = requestsLeft(plan, leadIn) ?? Number.POSITIVE_INFINITY;
  const before = requestsOf(leadIn);
  const lines: string[] = [];
  if (left < plannedExchanges) {
    const others = before === 0 ? '' : `, of which some ${before} go before`;
    lines.push(`  no more than ${left} are sent of it: --max-requests ${maxRequests}${others}`);
  }
  if (maxRatePerSecond !== null && maxRatePerSecond < plannedPeakPerSecond) {
    lines.push(`  more than ${maxRatePerSecond} in a second of the run are refused and counted: --max-rate`);
  }
  return lines;
}

function timeShiftLines(places: ReplayOptions['shiftTime']): string[] {
  if (places.length === 0) return [];
  const pointers = places.map(({ pointer }) => pointer).join(', ');
  return [`  times at ${pointers} are moved from when they were recorded to when they are sent`];
}

function peakLines({ peakSecond, recordedPeakPerSecond, plannedPeakPerSecond }: Forecast): string[] {
  if (peakSecond === null) return [];
  const at = formatInstantUs(peakSecond * 1e6).slice(0, 19);
  return [`  peak second ${at}Z: ${recordedPeakPerSecond} recorded; at most ${plannedPeakPerSecond} planned`];
}

function coverageLines({ coverage }: CaptureOverview): string[] {
  if (coverage === null || coverage >= 1) return [];
  return [`  coverage ${coverage.toFixed(3)}: what is missing is made up for by sessions of what is there`];
}

/** What a reader should know of a shard before it is played. */
function shardLines({ shard, startAtUs }: ReplayOptions): string[] {
  const start =
    startAtUs === null ? [] : [`  starts at ${formatInstantUs(startAtUs)}, by the clock of this host`];
  if (shard === null) return start;
  const { index, count } = shard;
  return [
    `  shard ${index} of ${count} (they count from 0): what is said here is of all of them; this one plays a stripe`,
    '    of the sessions; --max-rate and --max-requests hold for the whole, --max-in-flight for this process',
    ...start,
    ...(startAtUs === null
      ? ['    no --start-at: shards that do not begin together are late by the difference']
      : []),
  ];
}

/** The bounds of the judgement that were stated; the others stay as they are. */
export function statedBounds({ lagBound }: Pick<ReplayOptions, 'lagBound'>): Partial<JudgementBounds> {
  return {
    ...(lagBound.lagMs === null ? {} : { lagNs: lagBound.lagMs * 1e6 }),
    ...(lagBound.ofServiceShare === null ? {} : { lagOfServiceShare: lagBound.ofServiceShare }),
  };
}
