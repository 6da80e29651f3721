import { type Forecast, forecastOf } from '../forecast.ts';
import { inOneOrder, type PlayedSeconds, type Reach, until } from '../played-seconds.ts';
import type { Scaling } from './scaling.ts';

/**
 * What scaled windows will ask of their target: they are summed, with what is laid over them, from roll-ups. Counts
 * are not rounded.
 * @param reach how much of the windows the run plays
 */
export function foresee(
  seconds: PlayedSeconds,
  scaling: Scaling,
  reach: Reach = { firstUs: null, endUs: scaling.endUs },
): Forecast {
  const own = forecastOf(until(seconds(0), reach), scaling.meetingSeconds);
  if (!scaling.alters && scaling.layers.length === 1) return own;
  const all = inOneOrder(scaling.layers.map(({ shiftUs }) => seconds(shiftUs)));
  const laid = forecastOf(until(all, reach), scaling.meetingSeconds);
  const { copies } = scaling.loadAt(scaling.curve.max);
  const { recorded, planned } = expected(seconds, scaling, reach);
  return {
    ...own,
    plannedExchanges: planned,
    timesEach: recorded === 0 ? 1 : planned / recorded,
    plannedPeakPerSecond: laid.plannedPeakPerSecond * Math.ceil(copies),
  };
}

/** Exchanges of the windows, and requests planned on average over all seeds, each second at its own multiplier. */
function expected(
  seconds: PlayedSeconds,
  scaling: Scaling,
  reach: Reach,
): { readonly recorded: number; readonly planned: number } {
  let recorded = 0;
  let planned = 0;
  for (const [layer, { shiftUs }] of scaling.layers.entries()) {
    let beginUs: number | null = null;
    for (const { fromUs, exchanges, share } of until(seconds(shiftUs), reach)) {
      beginUs ??= fromUs;
      const multiplier = scaling.curve.multiplierAt((fromUs - beginUs) * 1e3);
      const { kept, copies } = scaling.loadAt(multiplier);
      if (layer === 0) recorded += exchanges * share;
      planned += exchanges * share * kept * copies * scaling.layerShare(layer, multiplier);
    }
  }
  return { recorded, planned };
}
