import type { TimeRange } from '../../core/ports.ts';
import type { CaptureOverview, SecondSums } from '../capture-overview.ts';
import type { Forecast } from '../forecast.ts';
import type { ReplayWindow } from '../window.ts';
import { isSequence } from './playback.ts';

/** Foresees one stretch of a capture. */
export type Forecaster = (overview: CaptureOverview, range: TimeRange) => Forecast;

interface Shift {
  /** First second on the time of all windows, and what it is in the capture. */
  readonly played: number;
  readonly recorded: number;
}

/**
 * Foresees windows that follow each other, by a forecaster that knows of one stretch: it is shown their seconds as
 * if they had been recorded in a row, twice where they are repeated, so that every seam is among them.
 */
export function outlookOn(overview: CaptureOverview, window: ReplayWindow, forecaster: Forecaster): Forecast {
  if (!isSequence(window)) return forecaster(overview, window);
  const passes = window.loops === 1 ? 1 : 2;
  const shifts: Shift[] = [];
  const seconds = () => joined(overview, Array.from({ length: passes }, () => window.parts).flat(), shifts);
  const forecast = forecaster({ ...overview, seconds }, window);
  const times = passesOf(window) / passes;
  return {
    ...forecast,
    exchanges: Math.round(forecast.exchanges * times),
    plannedExchanges: Math.round(forecast.plannedExchanges * times),
    peakSecond: forecast.peakSecond === null ? null : recordedSecond(forecast.peakSecond, shifts),
  };
}

/** How often the windows are played; where a duration decides, as often as their lengths go into it. */
function passesOf({ loops, durationNs, onceNs }: ReplayWindow): number {
  const byDuration = durationNs === null ? Number.POSITIVE_INFINITY : durationNs / Math.max(1, onceNs);
  return Math.min(loops ?? Number.POSITIVE_INFINITY, byDuration);
}

/**
 * Seconds of windows, one window's first second being the last one's of the window before: a second of the run may
 * hold the end of the one and the begin of the other.
 */
function* joined(
  overview: CaptureOverview,
  parts: readonly TimeRange[],
  shifts: Shift[],
): Generator<SecondSums> {
  shifts.length = 0;
  let last: SecondSums | null = null;
  for (const part of parts) {
    let shift: Shift | null = null;
    for (const each of overview.seconds(part)) {
      if (shift === null) {
        shift = { played: last?.second ?? each.second, recorded: each.second };
        shifts.push(shift);
      }
      const second: number = shift.played + each.second - shift.recorded;
      if (last !== null && last.second === second) last = sumOf(last, each);
      else {
        if (last !== null) yield last;
        last = { ...each, second };
      }
    }
  }
  if (last !== null) yield last;
}

function sumOf(a: SecondSums, b: SecondSums): SecondSums {
  return {
    second: a.second,
    exchanges: a.exchanges + b.exchanges,
    latencyCount: a.latencyCount + b.latencyCount,
    latencySumUs: a.latencySumUs + b.latencySumUs,
  };
}

function recordedSecond(played: number, shifts: readonly Shift[]): number {
  const shift = shifts.findLast((each) => each.played <= played);
  return shift === undefined ? played : played - shift.played + shift.recorded;
}
