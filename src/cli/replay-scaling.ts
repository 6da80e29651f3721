import type { CaptureSource, TimeRange } from '../core/ports.ts';
import type { CaptureOverview } from '../replay/capture-overview.ts';
import { describeFilters } from '../replay/filters.ts';
import type { Forecast } from '../replay/forecast.ts';
import type { ReplayOptions } from '../replay/options.ts';
import { foresee } from '../replay/scaling/foresee.ts';
import { chooseLayers } from '../replay/scaling/layers.ts';
import { Scaling } from '../replay/scaling/scaling.ts';
import { RateCurve } from '../replay/stages.ts';
import type { ReplayWindow } from '../replay/window.ts';
import { outlookOn } from '../replay/windows/outlook.ts';
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
  const { curve, options } = scaling;
  if (options.stages === null) return window.plannedSpanNs;
  const playedNs = wholeUs(scaling, window) * 1e3;
  const compressedNs = () => (playedNs < curve.playedNs ? curve.offsetNsAt(playedNs) : curve.durationNs);
  const spanNs = options.scaling === 'compress' ? compressedNs() : playedNs;
  return Math.min(spanNs, curve.durationNs, window.durationNs ?? Number.POSITIVE_INFINITY);
}

/** What the windows, one after the other, will ask of the target. */
export function forecastFor(overview: CaptureOverview, window: ReplayWindow, scaling: Scaling): Forecast {
  // Without stages every pass is like the others: how many there are decides, and nobody has to count along.
  const endUs = scaling.options.stages === null ? scaling.endUs : runEndUs(scaling, window);
  return outlookOn(overview, window, { most: scaling.maxPace, endUs }, (each, range) =>
    foresee(each, range, scaling, endUs),
  );
}

/** The multiplier that was asked for: with stages, the mean of what they ask of this window. */
export function askedMultiplier({ scaling, window, forecast, options }: ReplayPlan): number {
  if (options.stages === null) return options.multiplier;
  if (options.scaling === 'compress') return playedPace(scaling, window);
  const times = forecast.exchanges === 0 ? 1 : forecast.plannedExchanges / forecast.exchanges;
  return times / scaling.coverageFactor / options.targetShare;
}

/** Recorded time that passes in a second of the run, on average. */
export function playedPace(scaling: Scaling, window: ReplayWindow): number {
  return scaling.meanPace(Math.min(wholeUs(scaling, window), runEndUs(scaling, window)));
}

/** Recorded time of all passes, microseconds; seams are left out of it. */
function wholeUs({ minPace }: Scaling, { onceNs, loops }: ReplayWindow): number {
  return (onceNs / 1e3) * minPace * (loops ?? Number.POSITIVE_INFINITY);
}

/** How far into that stages and duration let the run come. */
function runEndUs(scaling: Scaling, { durationNs }: ReplayWindow): number {
  return scaling.playedUs(durationNs ?? Number.POSITIVE_INFINITY);
}
