import type { SecondCount } from './capture-overview.ts';

/** What a replay will ask of its target, foreseen from roll-ups: of seconds at the window's edges so much as lies in it. */
export interface Forecast {
  readonly exchanges: number;
  /** Requests that will be planned of them, on average over all seeds. */
  readonly plannedExchanges: number;
  /** How often each of them is planned on average, nothing rounded; 1 where there are none. */
  readonly timesEach: number;
  /** The busiest recorded second, epoch seconds; null where there is none. */
  readonly peakSecond: number | null;
  readonly recordedPeakPerSecond: number;
  /** No second of the replay can plan more than this. */
  readonly plannedPeakPerSecond: number;
}

/** Passed seconds kept before they are cut off, so that each is moved rarely. */
const TRIM_AFTER = 4_096;

/** A second, of which the run may come to a part alone. */
export interface PlayedSecond extends SecondCount {
  /** Share of what was recorded in it that is played; 1 where nothing is said. */
  readonly share?: number;
}

/** Sums seconds, which come in order, in one pass and at the memory of one replayed second. */
export function forecastOf(seconds: Iterable<PlayedSecond>, multiplier: number): Forecast {
  // A replayed second covers `multiplier` recorded ones, which touch at most one whole second more than that
  // rounded up; sums over so many neighbours bound every alignment.
  const reach = Math.ceil(multiplier) + 1;
  const recent: SecondCount[] = [];
  let head = 0;
  let sum = 0;
  let exchanges = 0;
  let plannedPeakPerSecond = 0;
  let busiest: SecondCount = { second: 0, exchanges: 0 };
  for (const each of seconds) {
    recent.push(each);
    sum += each.exchanges;
    exchanges += each.exchanges * (each.share ?? 1);
    while (recent[head]!.second <= each.second - reach) sum -= recent[head++]!.exchanges;
    if (head > TRIM_AFTER) {
      recent.splice(0, head);
      head = 0;
    }
    plannedPeakPerSecond = Math.max(plannedPeakPerSecond, sum);
    if (each.exchanges > busiest.exchanges) busiest = each;
  }
  return {
    exchanges: Math.round(exchanges),
    plannedExchanges: Math.round(exchanges),
    timesEach: 1,
    peakSecond: busiest.exchanges > 0 ? busiest.second : null,
    recordedPeakPerSecond: busiest.exchanges,
    plannedPeakPerSecond,
  };
}
