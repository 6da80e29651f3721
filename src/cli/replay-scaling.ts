import type { CaptureSource, TimeRange } from '../core/ports.ts';
import type { CaptureOverview } from '../replay/capture-overview.ts';
import type { ReplayOptions } from '../replay/options.ts';
import { chooseLayers } from '../replay/scaling/layers.ts';
import { Scaling } from '../replay/scaling/scaling.ts';
import { RateCurve } from '../replay/stages.ts';
import type { ReplayPlan } from './replay-plan.ts';

/** The slowest that time passes in a run: what decides how long a window may last. */
export function slowestPace(options: ReplayOptions): number {
  return options.scaling === 'compress' ? new RateCurve(options.multiplier, options.stages).min : 1;
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
    layers: chooseLayers(overview, source, played, scaling.curve.max),
  });
}

/** How long the run is planned to last, nanoseconds. @param slowestNs how long at the slowest pace */
export function plannedSpanNs(scaling: Scaling, slowestNs: number): number {
  const { curve, options, minPace } = scaling;
  if (options.stages === null) return slowestNs;
  const playedNs = slowestNs * minPace;
  const spanNs = options.scaling === 'compress' ? curve.offsetNsAt(playedNs) : playedNs;
  return Math.min(spanNs, curve.durationNs);
}

/** The multiplier that was asked for: with stages, the mean of what they ask of this window. */
export function askedMultiplier({ scaling, window, forecast, options }: ReplayPlan): number {
  if (options.stages === null) return options.multiplier;
  if (options.scaling === 'compress') return playedPace(scaling, window);
  const times = forecast.exchanges === 0 ? 1 : forecast.plannedExchanges / forecast.exchanges;
  return times / scaling.coverageFactor / options.targetShare;
}

/** Recorded time that passes in a second of the run, on average. */
export function playedPace(scaling: Scaling, window: TimeRange): number {
  return scaling.meanPace(Math.min(window.toUs - window.fromUs, scaling.endUs));
}
