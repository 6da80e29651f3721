import { formatInstantUs, formatMs } from '../core/units.ts';
import type { CaptureOverview } from '../replay/capture-overview.ts';
import type { Forecast } from '../replay/forecast.ts';
import type { ReplayOptions } from '../replay/options.ts';
import { COMPRESS } from '../replay/scaling/compress.ts';
import type { ReplayWindow } from '../replay/window.ts';

/** What is known before an exchange is read. */
export interface ReplayPlan {
  readonly options: ReplayOptions;
  readonly overview: CaptureOverview;
  readonly window: ReplayWindow;
  readonly forecast: Forecast;
}

/** Its first line, which needs no roll-ups. */
export function planTitle({ options, overview, window }: Omit<ReplayPlan, 'forecast'>): string {
  const against = options.target === null ? '' : ` against ${options.target.url}`;
  const from = formatInstantUs(window.fromUs);
  const to = formatInstantUs(window.toUs - 1);
  return `Plan: ${overview.name}${against} at ${options.multiplier}x, ${from} to ${to}`;
}

/** The rest of it. */
export function planLines({ options, window, forecast, overview }: ReplayPlan): string[] {
  const planned = Math.min(forecast.exchanges, options.maxRequests ?? Number.POSITIVE_INFINITY);
  const spanMs = window.plannedSpanNs / 1e6;
  const rate =
    spanMs > 0 ? `${(forecast.exchanges / (spanMs / 1e3)).toFixed(3)}/s on average` : 'all at once';
  const cut = planned < forecast.exchanges ? ` (the first ${planned}: --max-requests)` : '';
  return [
    `  ${forecast.exchanges} exchanges${cut} in ${formatMs(spanMs)}, ${rate}`,
    ...peakLines(forecast),
    `  scaling ${COMPRESS.name}: keeps ${COMPRESS.keeps};`,
    `    bends ${COMPRESS.bends}`,
    ...coverageLines(overview, options.multiplier),
  ];
}

/** The same for a program. */
export function planDocument({ options, overview, window, forecast }: ReplayPlan): object {
  return {
    capture: overview.name,
    target: options.target?.url ?? null,
    window: { from: formatInstantUs(window.fromUs), to: formatInstantUs(window.toUs - 1) },
    multiplier: options.multiplier,
    scaling: COMPRESS.name,
    scalingKeeps: COMPRESS.keeps,
    scalingBends: COMPRESS.bends,
    maxRequests: options.maxRequests,
    durationS: window.plannedSpanNs / 1e9,
    peak: {
      second: forecast.peakSecond === null ? null : formatInstantUs(forecast.peakSecond * 1e6),
      recordedPerSecond: forecast.recordedPeakPerSecond,
      plannedPerSecondAtMost: forecast.plannedPeakPerSecond,
    },
    coverage: overview.coverage,
  };
}

function peakLines({ peakSecond, recordedPeakPerSecond, plannedPeakPerSecond }: Forecast): string[] {
  if (peakSecond === null) return [];
  const at = formatInstantUs(peakSecond * 1e6).slice(0, 19);
  return [`  peak second ${at}Z: ${recordedPeakPerSecond} recorded; at most ${plannedPeakPerSecond} planned`];
}

function coverageLines({ coverage }: CaptureOverview, multiplier: number): string[] {
  if (coverage === null || coverage >= 1) return [];
  const effective = (multiplier * coverage).toFixed(3);
  return [`  coverage ${coverage.toFixed(3)}: of the traffic that was seen this is at most ${effective}x`];
}
