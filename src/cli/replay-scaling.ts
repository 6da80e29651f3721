import type { CaptureSource, TimeRange } from '../core/ports.ts';
import type { CaptureOverview } from '../replay/capture-overview.ts';
import { describeFilters } from '../replay/filters.ts';
import { type Forecast, forecastOf, planEndOf } from '../replay/forecast.ts';
import type { ReplayOptions } from '../replay/options.ts';
import { chooseLayers } from '../replay/scaling/layers.ts';
import { Scaling } from '../replay/scaling/scaling.ts';
import { RateCurve } from '../replay/stages.ts';
import type { ReplayWindow } from '../replay/window.ts';
import type { Playback } from '../replay/windows/playback.ts';
import type { ReplayPlan } from './replay-plan.ts';

/** The slowest that time passes in a run: what decides how long a window may last. */
export function slowestPace(options: ReplayOptions): number {
  return options.scaling === 'compress' ? new RateCurve(options.multiplier, options.stages).min : 1;
}

/** How long the run lasts at most, nanoseconds: its stages; infinite without. */
export function stagedSpanNs({ multiplier, stages }: ReplayOptions): number {
  return new RateCurve(multiplier, stages).durationNs;
}

/**
 * How the window is scaled. To be made anew for each pass over it.
 * @throws AppError OPTION_INVALID where the capture does not hold what is asked for
 */
export function scalingOf(
  options: ReplayOptions,
  overview: CaptureOverview,
  source: CaptureSource,
  window: TimeRange,
): Scaling {
  const { coverage } = overview;
  const scaling = new Scaling({ options, coverage });
  if (options.scaling !== 'superpose') return scaling;
  const { fromUs, toUs } = window;
  const played = { fromUs, toUs: Math.min(toUs, Math.ceil(fromUs + scaling.endUs)) };
  return new Scaling({
    options,
    coverage,
    layers: chooseLayers(
      overview,
      source,
      played,
      scaling.curve.max,
      describeFilters(options.filters).length > 0,
    ),
  });
}

/** How long the run is planned to last, nanoseconds. */
export function plannedSpanNs(scaling: Scaling, window: ReplayWindow): number {
  return planEndOf(scaling, window).offsetNs;
}

/** What the windows, one after the other, will ask of the target. */
export function forecastFor(
  overview: CaptureOverview,
  window: ReplayWindow,
  scaling: Scaling,
  source: Playback,
): Forecast {
  return forecastOf(overview, window, scaling, source.isSelective);
}

/** The multiplier that was asked for: with stages, the mean of what they ask of this window. */
export function askedMultiplier({ scaling, window, forecast, options }: ReplayPlan): number {
  if (options.stages === null) return options.multiplier;
  if (options.scaling === 'compress') return playedPace(scaling, window);
  return forecast.timesEach / scaling.coverageFactor / options.targetShare;
}

/** Recorded time that passes in a second of the run, on average. */
export function playedPace(scaling: Scaling, window: ReplayWindow): number {
  return scaling.meanPace(planEndOf(scaling, window).playedUs);
}
