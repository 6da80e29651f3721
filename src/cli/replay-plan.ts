import { countOf, formatInstantUs, formatMs } from '../core/units.ts';
import type { CaptureOverview } from '../replay/capture-overview.ts';
import { type Forecast, planEndOf } from '../replay/forecast.ts';
import type { ReplayOptions } from '../replay/options.ts';
import { scalingDocument, scalingLines } from '../replay/scaling/description.ts';
import type { Scaling } from '../replay/scaling/scaling.ts';
import type { ReplayWindow } from '../replay/window.ts';
import { type LeadIn, leadInLines, requestsLeft, requestsOf } from './lead-in.ts';
import { askedMultiplier } from './replay-scaling.ts';
import { sessionOrderLines } from './replay-session-order.ts';
import { shardLines } from './replay-shard.ts';
import { windowLines, windowsDocument } from './replay-windows.ts';

/** What is known before an exchange is read. */
export interface ReplayPlan {
  readonly options: ReplayOptions;
  readonly overview: CaptureOverview;
  readonly window: ReplayWindow;
  readonly forecast: Forecast;
  readonly scaling: Scaling;
}

const NO_LEAD_IN: LeadIn = { calibration: null, warmup: null };

/** Its first line, which needs no roll-ups. */
export function planTitle({ options, overview, window }: Omit<ReplayPlan, 'forecast' | 'scaling'>): string {
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
