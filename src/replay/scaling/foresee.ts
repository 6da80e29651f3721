import type { TimeRange } from '../../core/ports.ts';
import type { CaptureOverview, SecondCount } from '../capture-overview.ts';
import { type Forecast, forecastOf } from '../forecast.ts';
import { layeredSeconds, shifted } from './layers.ts';
import type { Scaling } from './scaling.ts';

/**
 * What a scaled window will ask of its target: it is summed, with what is laid over it, from roll-ups.
 * @param endUs how far into the window the run comes
 */
export function foresee(
  overview: CaptureOverview,
  window: TimeRange,
  scaling: Scaling,
  endUs = scaling.endUs,
): Forecast {
  const own = forecastOf(until(overview.seconds(window), endUs), scaling.maxPace);
  if (!scaling.alters && scaling.layers.length === 1) return own;
  // Copies come up to the jitter later, so that much more of the recording may meet in a second.
  const jitterS = scaling.options.jitterMs / 1e3;
  const laid = forecastOf(
    until(layeredSeconds(overview, window, scaling.layers), endUs),
    scaling.maxPace + jitterS,
  );
  const { copies } = scaling.loadAt(scaling.curve.max);
  return {
    ...own,
    plannedExchanges: Math.round(expected(overview, window, scaling, endUs)),
    plannedPeakPerSecond: laid.plannedPeakPerSecond * Math.ceil(copies),
  };
}

/** Planned requests on average over all seeds, each second at its own multiplier. */
function expected(overview: CaptureOverview, window: TimeRange, scaling: Scaling, endUs: number): number {
  let sum = 0;
  for (const [layer, { shiftUs }] of scaling.layers.entries()) {
    let first: number | null = null;
    for (const { second, exchanges } of until(overview.seconds(shifted(window, shiftUs)), endUs)) {
      first ??= second;
      const multiplier = scaling.curve.multiplierAt((second - first) * 1e9);
      const { kept, copies } = scaling.loadAt(multiplier);
      sum += exchanges * kept * copies * scaling.layerShare(layer, multiplier);
    }
  }
  return sum;
}

/** Seconds that the run comes to. */
function* until(seconds: Iterable<SecondCount>, endUs: number): Generator<SecondCount> {
  let first: number | null = null;
  for (const each of seconds) {
    first ??= each.second;
    if ((each.second - first) * 1e6 >= endUs) return;
    yield each;
  }
}
