import type { TimeRange } from '../../core/ports.ts';
import type { CaptureOverview, SecondCount } from '../capture-overview.ts';
import { type Forecast, forecastOf, type PlayedSecond } from '../forecast.ts';
import { layeredSeconds, shifted } from './layers.ts';
import type { Scaling } from './scaling.ts';

const SECOND_US = 1_000_000;

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
  const own = forecastOf(until(overview.seconds(window), window, endUs, overview), scaling.maxPace);
  if (!scaling.alters && scaling.layers.length === 1) return own;
  // Copies come up to the jitter later, so that much more of the recording may meet in a second.
  const jitterS = scaling.options.jitterMs / 1e3;
  const laid = forecastOf(
    until(layeredSeconds(overview, window, scaling.layers), window, endUs, overview),
    scaling.maxPace + jitterS,
  );
  const { copies } = scaling.loadAt(scaling.curve.max);
  const { recorded, planned } = expected(overview, window, scaling, endUs);
  return {
    ...own,
    plannedExchanges: Math.round(planned),
    timesEach: recorded === 0 ? 1 : planned / recorded,
    plannedPeakPerSecond: laid.plannedPeakPerSecond * Math.ceil(copies),
  };
}

/** Exchanges of the window, and requests planned on average over all seeds, each second at its own multiplier. */
function expected(
  overview: CaptureOverview,
  window: TimeRange,
  scaling: Scaling,
  endUs: number,
): { readonly recorded: number; readonly planned: number } {
  let recorded = 0;
  let planned = 0;
  for (const [layer, { shiftUs }] of scaling.layers.entries()) {
    let first: number | null = null;
    const range = shifted(window, shiftUs);
    for (const { second, exchanges, share = 1 } of until(overview.seconds(range), range, endUs, overview)) {
      first ??= second;
      const multiplier = scaling.curve.multiplierAt((second - first) * 1e9);
      const { kept, copies } = scaling.loadAt(multiplier);
      if (layer === 0) recorded += exchanges * share;
      planned += exchanges * share * kept * copies * scaling.layerShare(layer, multiplier);
    }
  }
  return { recorded, planned };
}

/** Where a capture has arrivals at all: a second at its ends holds them in a part of it. */
type Extent = Pick<CaptureOverview, 'firstArrivalUs' | 'lastArrivalUs'>;

/**
 * Seconds that the run may come to, from the first arrival on, each with the share of it that is played: those at an
 * edge lie in the window in part. Where in its second that arrival lies roll-ups do not say: no sooner than the window
 * begins, and at the latest at its end, up to which seconds are told of, so that whatever sums them whole has a bound.
 */
function* until(
  seconds: Iterable<SecondCount>,
  { fromUs, toUs }: TimeRange,
  endUs: number,
  { firstArrivalUs, lastArrivalUs }: Extent,
): Generator<PlayedSecond> {
  let beginUs: number | null = null;
  let lastUs = 0;
  for (const each of seconds) {
    const secondUs = each.second * SECOND_US;
    if (beginUs === null) {
      beginUs = Math.max(secondUs, fromUs);
      lastUs = secondUs + SECOND_US + endUs;
    }
    if (secondUs >= lastUs) return;
    const playedToUs = Math.min(beginUs + endUs, toUs);
    // All but those at the edges are told of as they are: a week has 600,000 of them.
    if (secondUs >= beginUs && secondUs + SECOND_US <= playedToUs) {
      yield each;
      continue;
    }
    const heldFromUs = Math.max(secondUs, firstArrivalUs ?? secondUs);
    const heldToUs = Math.min(secondUs + SECOND_US, (lastArrivalUs ?? Number.POSITIVE_INFINITY) + 1);
    const playedUs = Math.min(heldToUs, playedToUs) - Math.max(heldFromUs, beginUs);
    yield { ...each, share: Math.max(0, Math.min(1, playedUs / (heldToUs - heldFromUs))) };
  }
}
