import type { TimeRange } from '../../core/ports.ts';
import type { CaptureOverview } from '../capture-overview.ts';
import type { Forecast } from '../forecast.ts';
import { type PlayedSeconds, playedSeconds, type Reach } from '../played-seconds.ts';
import type { ReplayWindow } from '../window.ts';
import { isSequence } from './playback.ts';
import { LONE_SEAM_US } from './timeline.ts';

/** Foresees what is played of seconds; nothing is rounded. */
export type Forecaster = (seconds: PlayedSeconds, reach: Reach) => Forecast;

const SECOND_US = 1_000_000;

/** How the windows are played. */
export interface Pace {
  /** The most recorded seconds of which a second of the run may hold something. */
  readonly meetingSeconds: number;
  /** What stages or a duration let the run play of the windows. */
  readonly reach: Reach;
  /** Whether every pass is played alike, as it is without stages. */
  readonly isConstant: boolean;
}

/** Where stages come to more passes than this, so many are foreseen and multiplied. */
const STAGED_PASSES = 10_000;
/** Where windows are so short that more passes than this meet in a second, one is foreseen and multiplied. */
const READ_PASSES = 6;

/**
 * Foresees windows that follow each other, by a forecaster that is shown their seconds, with as many passes as may
 * meet in a second of the run. Passes that are played alike are counted, with what the last one comes to. Stages ask
 * something else of every pass, so there all of them are shown.
 */
export function outlookOn(
  overview: CaptureOverview,
  window: ReplayWindow,
  pace: Pace,
  forecaster: Forecaster,
): Forecast {
  const { exchanges, plannedExchanges, ...rest } = outlook(overview, window, pace, forecaster);
  return {
    ...rest,
    exchanges: Math.round(exchanges),
    plannedExchanges: Math.round(plannedExchanges),
  };
}

function outlook(
  overview: CaptureOverview,
  window: ReplayWindow,
  { reach, isConstant, meetingSeconds }: Pace,
  forecaster: Forecaster,
): Forecast {
  const { parts } = window;
  const { firstUs, endUs } = reach;
  const shown = (passes: number, played: Reach) => forecaster(playedSeconds(overview, parts, passes), played);
  // The begin of a window is no mean of it; and where it is all that is played, it is all that needs to be read.
  if (!isSequence(window) || (firstUs ?? 0) + endUs <= lengthUs(parts)) return shown(1, reach);
  const onceS = shortestS(parts);
  const most = window.loops ?? Number.POSITIVE_INFINITY;
  const staged = Math.min(most, Math.ceil(endUs / SECOND_US / onceS) + 1);
  if (!isConstant && staged <= STAGED_PASSES) return shown(staged, reach);
  // A stretch touches as many as fit into it, and one more.
  const meeting = Math.min(most, Math.ceil(meetingSeconds / onceS) + 1);
  const passes = meeting > READ_PASSES ? 1 : meeting;
  const alike = shown(passes, { firstUs: null, endUs: Number.POSITIVE_INFINITY });
  const eachUs = passUs(overview, window, alike.exchanges / passes);
  const whole = Math.min(most, Math.floor(endUs / eachUs));
  // What is left over may lie in two passes where the first arrival is not at their begin.
  const left = { firstUs, endUs: endUs - whole * eachUs };
  const rest = whole === most ? null : shown(Math.min(most - whole, firstUs === null ? 1 : 2), left);
  return {
    ...alike,
    exchanges: (alike.exchanges / passes) * whole + (rest?.exchanges ?? 0),
    plannedExchanges: (alike.plannedExchanges / passes) * whole + (rest?.plannedExchanges ?? 0),
    plannedPeakPerSecond: alike.plannedPeakPerSecond * (passes < meeting ? meeting : 1),
  };
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
