import type { CaptureSource, TimeRange } from '../core/ports.ts';
import type { ReplayOptions } from '../replay/options.ts';
import type { Warmup } from '../replay/warmup.ts';
import { chooseWindow } from '../replay/window.ts';
import type { Playback } from '../replay/windows/playback.ts';
import type { ReplayPlan } from './replay-plan.ts';
import { forecastFor, scalingOf } from './replay-scaling.ts';
import { playbackOf } from './replay-windows.ts';

/** Some minutes of the recording at 1x that a target is held against before a run. */
export interface CalibrationPlan {
  readonly plan: ReplayPlan;
  readonly source: Playback;
  /** Estimated from roll-ups; no more than may be sent. */
  readonly plannedRequests: number;
  /** Before the window; else its begin, so that the run repeats these requests. */
  readonly precedesWindow: boolean;
}

/**
 * What is played to calibrate; null where that was not asked for.
 * @param plan of the run it precedes
 * @param capture as it was opened
 */
export function calibrationPlanOf(
  plan: ReplayPlan,
  warmup: Warmup | null,
  capture: CaptureSource,
): CalibrationPlan | null {
  const { calibrateMs } = plan.options;
  if (calibrateMs === null) return null;
  const options = atOnce(plan.options);
  const { range, precedes } = stretchFor(plan, warmup, calibrateMs);
  const asked = { ...options.window, ranges: [range], search: null, loops: 1, durationMs: null };
  const window = chooseWindow(plan.overview, asked, 1);
  const source = playbackOf(capture, window, options.filters);
  const scaling = scalingOf(options, plan.overview, source, window);
  const forecast = forecastFor(plan.overview, window, scaling, source);
  const own = { options, overview: plan.overview, window, scaling, forecast };
  const { maxRequests } = options;
  const plannedRequests = Math.min(forecast.plannedExchanges, maxRequests ?? Number.POSITIVE_INFINITY);
  return { plan: own, source, plannedRequests, precedesWindow: precedes };
}

/** Nothing that scales, and nothing that judges; begun as soon as it can be: a start that was set is the run's. */
export function atOnce(options: ReplayOptions): ReplayOptions {
  return {
    ...options,
    ...{
      multiplier: 1,
      stages: null,
      scaling: 'compress',
      perturb: [],
      startAtUs: null,
      sessionOrder: 'open',
      check: null,
    },
  };
}

/**
 * What lies before the window and its warm-up, so that the run meets no cache that was filled with its own requests;
 * where the recording does not go back so far, the begin of the window.
 */
function stretchFor(
  { overview, window }: ReplayPlan,
  warmup: Warmup | null,
  calibrateMs: number,
): { readonly range: TimeRange; readonly precedes: boolean } {
  const lengthUs = Math.round(calibrateMs * 1e3);
  const first = window.parts[0] ?? window;
  const beforeUs = warmup === null ? first.fromUs : warmup.range.fromUs;
  if (beforeUs - lengthUs >= (overview.firstArrivalUs ?? first.fromUs)) {
    return { range: { fromUs: beforeUs - lengthUs, toUs: beforeUs }, precedes: true };
  }
  return {
    range: { fromUs: first.fromUs, toUs: Math.min(first.toUs, first.fromUs + lengthUs) },
    precedes: false,
  };
}
