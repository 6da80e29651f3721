import type { TimeRange } from '../../core/ports.ts';
import type { CaptureOverview, SecondSums } from '../capture-overview.ts';
import type { Forecast } from '../forecast.ts';
import type { ReplayWindow } from '../window.ts';
import { isSequence } from './playback.ts';
import { LONE_SEAM_US } from './timeline.ts';

/** Foresees one stretch of a capture, as far into it as the run comes, microseconds. */
export type Forecaster = (overview: CaptureOverview, range: TimeRange, endUs: number) => Forecast;

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
  /** How far into the windows stages or a duration let the run come, microseconds; infinite without either. */
  readonly endUs: number;
  /** Whether every pass is played alike, as it is without stages. */
  readonly isConstant: boolean;
}

/** Where stages come to more passes than this, so many are foreseen and multiplied. */
const STAGED_PASSES = 10_000;
/** Where windows are so short that more passes than this meet in a second, one is foreseen and multiplied. */
const READ_PASSES = 6;

/**
 * Foresees windows that follow each other, by a forecaster that knows of one stretch: it is shown their seconds as
 * if they had been recorded in a row, with as many passes as may meet in a second of the run. Passes that are played
 * alike are counted, with what the last one comes to. Stages ask something else of every pass, so there all of them
 * are shown.
 */
export function outlookOn(
  overview: CaptureOverview,
  window: ReplayWindow,
  pace: Pace,
  forecaster: Forecaster,
): Forecast {
  const { endUs } = pace;
  if (!isSequence(window)) return forecaster(overview, window, endUs);
  const shown = (passes: number, toUs: number) => shownPasses(overview, window, passes, toUs, forecaster);
  // The begin of a window is no mean of it; and where it is all that is played, it is all that needs to be read.
  if (endUs <= lengthUs(window.parts)) return shown(1, endUs);
  const onceS = shortestS(window.parts);
  const most = window.loops ?? Number.POSITIVE_INFINITY;
  const staged = Math.min(most, Math.ceil(endUs / SECOND_US / onceS) + 1);
  if (!pace.isConstant && staged <= STAGED_PASSES) return shown(staged, endUs);
  const meeting = Math.min(most, 2 + Math.ceil((pace.most + 2) / onceS));
  const passes = meeting > READ_PASSES ? 1 : meeting;
  const alike = shown(passes, Number.POSITIVE_INFINITY);
  const eachUs = passUs(overview, window, alike.exchanges / passes);
  const whole = Math.min(most, Math.floor(endUs / eachUs));
  const rest = whole === most ? null : shown(1, endUs - whole * eachUs);
  return {
    ...alike,
    exchanges: Math.round((alike.exchanges / passes) * whole) + (rest?.exchanges ?? 0),
    plannedExchanges: Math.round((alike.plannedExchanges / passes) * whole) + (rest?.plannedExchanges ?? 0),
    plannedPeakPerSecond: alike.plannedPeakPerSecond * (passes < meeting ? meeting : 1),
  };
}

/** So many passes in a row, as far as the run comes. */
function shownPasses(
  overview: CaptureOverview,
  window: ReplayWindow,
  passes: number,
  endUs: number,
  forecaster: Forecaster,
): Forecast {
  const parts = Array.from({ length: passes }, () => window.parts).flat();
  const shifts: Shift[] = [];
  const seconds = () => joined(overview, parts, shifts);
  // On a time of their own, which ends with the last of them and not with the capture.
  const { fromUs } = window.parts[0] ?? window;
  const range = { fromUs, toUs: Number.POSITIVE_INFINITY };
  const forecast = forecaster({ ...overview, lastArrivalUs: null, seconds }, range, endUs);
  const { peakSecond } = forecast;
  return { ...forecast, peakSecond: peakSecond === null ? null : recordedSecond(peakSecond, shifts) };
}

/**
 * What a pass takes as recorded, microseconds. One over all of a capture ends with its last arrival, and a mean gap
 * follows before the next; others have silence at their edges.
 */
function passUs(
  { firstArrivalUs, lastArrivalUs }: CaptureOverview,
  { parts }: ReplayWindow,
  exchanges: number,
): number {
  const onceUs = lengthUs(parts);
  const [{ fromUs, toUs } = { fromUs: 0, toUs: 0 }] = parts;
  const isWhole = parts.length === 1 && fromUs === firstArrivalUs && toUs - 1 === lastArrivalUs;
  if (!isWhole) return shortestS(parts) * SECOND_US;
  return exchanges > 1 && onceUs > 1 ? onceUs - 1 + (onceUs - 1) / (exchanges - 1) : LONE_SEAM_US;
}

/** The least time that a pass takes as recorded: a lone instant is repeated no sooner than after its seam. */
function shortestS(parts: readonly TimeRange[]): number {
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
