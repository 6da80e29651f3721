import type { TimeRange } from '../../core/ports.ts';
import type { CaptureOverview, SecondSums } from '../capture-overview.ts';
import type { Forecast } from '../forecast.ts';
import type { ReplayWindow } from '../window.ts';
import { isSequence } from './playback.ts';
import { LONE_SEAM_US } from './timeline.ts';

/** Foresees one stretch of a capture. */
export type Forecaster = (overview: CaptureOverview, range: TimeRange) => Forecast;

const SECOND_US = 1_000_000;

interface Shift {
  /** First second on the time of all windows, and what it is in the capture. */
  readonly played: number;
  readonly recorded: number;
}

/** How the windows are played. */
export interface Pace {
  /** The most recorded seconds that pass in a second of the run. */
  readonly most: number;
  /** How far into the windows stages or a duration let the run come, microseconds; infinite without stages. */
  readonly endUs: number;
}

/** Where stages come to more passes than this, so many are foreseen and multiplied. */
const STAGED_PASSES = 10_000;
/** Where windows are so short that more passes than this meet in a second, one is foreseen and multiplied. */
const READ_PASSES = 6;

/**
 * Foresees windows that follow each other, by a forecaster that knows of one stretch: it is shown their seconds as
 * if they had been recorded in a row, with as many passes as may meet in a second of the run.
 * Stages ask something else of every pass, so there all of them are shown.
 */
export function outlookOn(
  overview: CaptureOverview,
  window: ReplayWindow,
  { most: pace, endUs }: Pace,
  forecaster: Forecaster,
): Forecast {
  if (!isSequence(window)) return forecaster(overview, window);
  const onceS = shortestS(window);
  const meeting = Math.min(window.loops ?? Number.POSITIVE_INFINITY, 2 + Math.ceil((pace + 2) / onceS));
  const staged = Math.min(window.loops ?? Number.POSITIVE_INFINITY, Math.ceil(endUs / SECOND_US / onceS) + 1);
  const shown = meeting > READ_PASSES ? 1 : meeting;
  const isWhole = staged <= STAGED_PASSES && Number.isFinite(endUs);
  const passes = isWhole ? staged : shown;
  const shifts: Shift[] = [];
  const seconds = () => joined(overview, Array.from({ length: passes }, () => window.parts).flat(), shifts);
  const forecast = forecaster({ ...overview, seconds }, window);
  const times = isWhole ? 1 : passesOf(window, onceS / pace) / passes;
  return {
    ...forecast,
    exchanges: Math.round(forecast.exchanges * times),
    plannedExchanges: Math.round(forecast.plannedExchanges * times),
    peakSecond: forecast.peakSecond === null ? null : recordedSecond(forecast.peakSecond, shifts),
    plannedPeakPerSecond: forecast.plannedPeakPerSecond * (passes < meeting ? meeting : 1),
  };
}

/** How often the windows are played; where a duration decides, as often as their lengths go into it. */
function passesOf({ loops, durationNs }: ReplayWindow, onceS: number): number {
  const byDuration = durationNs === null ? Number.POSITIVE_INFINITY : durationNs / 1e9 / onceS;
  return Math.min(loops ?? Number.POSITIVE_INFINITY, byDuration);
}

/** The least time that a pass takes as recorded: a lone instant is repeated no sooner than after its seam. */
function shortestS({ parts }: ReplayWindow): number {
  const onceUs = lengthUs(parts);
  return (onceUs <= parts.length ? LONE_SEAM_US : onceUs) / SECOND_US;
}

function lengthUs(parts: readonly TimeRange[]): number {
  return parts.reduce((sum, { fromUs, toUs }) => sum + toUs - fromUs, 0);
}

/**
 * Seconds of windows in a row, never farther from each other than they are played: a window's second lies a second
 * sooner than its length says, but not before the last second of the window before, with which it may share one.
 */
function* joined(
  overview: CaptureOverview,
  parts: readonly TimeRange[],
  shifts: Shift[],
): Generator<SecondSums> {
  shifts.length = 0;
  let last: SecondSums | null = null;
  let begin: number | null = null;
  for (const part of parts) {
    const first = Math.floor(part.fromUs / SECOND_US);
    begin ??= first;
    let shift: Shift | null = null;
    for (const each of overview.seconds(part)) {
      if (shift === null) {
        const played = Math.max(last?.second ?? Number.NEGATIVE_INFINITY, begin + each.second - first);
        shift = { played, recorded: each.second };
        begin = played - each.second + first;
        shifts.push(shift);
      }
      const second: number = shift.played + each.second - shift.recorded;
      if (last !== null && last.second === second) last = sumOf(last, each);
      else {
        if (last !== null) yield last;
        last = { ...each, second };
      }
    }
    begin += Math.max(0, Math.floor((part.toUs - part.fromUs) / SECOND_US) - 1);
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
