import type { PlayedSecond } from './played-seconds.ts';

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
const SECOND_US = 1_000_000;

/**
 * Sums seconds, which come in order, in one pass and at the memory of one replayed second. Counts are not rounded.
 * @param meeting recorded seconds of which a second of the replay may hold something
 */
export function forecastOf(seconds: Iterable<PlayedSecond>, meeting: number): Forecast {
  // A stretch so long that begins wherever it may and reaches into a second touches of those before it the ones that
  // end less than its length before that one begins; sums over so many neighbours bound every alignment.
  const reachUs = meeting * SECOND_US;
  const recent: PlayedSecond[] = [];
  let head = 0;
  let sum = 0;
  let exchanges = 0;
  let plannedPeakPerSecond = 0;
  let busiest = { second: 0, exchanges: 0 };
  for (const each of seconds) {
    recent.push(each);
    sum += each.exchanges;
    exchanges += each.exchanges * each.share;
    while (recent[head]!.toUs <= each.fromUs - reachUs) sum -= recent[head++]!.exchanges;
    if (head > TRIM_AFTER) {
      recent.splice(0, head);
      head = 0;
    }
    plannedPeakPerSecond = Math.max(plannedPeakPerSecond, sum);
    if (each.exchanges > busiest.exchanges) busiest = each;
  }
  return {
    exchanges,
    plannedExchanges: exchanges,
    timesEach: 1,
    peakSecond: busiest.exchanges > 0 ? busiest.second : null,
    recordedPeakPerSecond: busiest.exchanges,
    plannedPeakPerSecond,
  };
}
