import type { TimeRange } from '../../core/ports.ts';
import type { CaptureOverview } from '../window/capture.ts';
import { LONE_SEAM_US } from '../window/playback.ts';
import type { ReplayWindow } from '../window/window.ts';
import type { Scaling } from './scaling.ts';

/** What a replay will ask of its target, estimated from roll-ups. A dry run counts it. */
export interface Forecast {
  /** Exchanges of the windows; of a second that lies in a window in part, the same part. */
  readonly exchanges: number;
  /** Requests planned of them, on average over all seeds. */
  readonly plannedExchanges: number;
  /** How often each of them is planned on average, not rounded; 1 where there are none. */
  readonly timesEach: number;
  /** The busiest recorded second, epoch seconds; null if nothing was recorded. */
  readonly peakSecond: number | null;
  readonly recordedPeakPerSecond: number;
  /** No second of the replay plans more than this. */
  readonly plannedPeakPerSecond: number;
}

/** Roll-ups, and where a capture has arrivals at all: a second at its ends holds them in a part of it. */
type RollUps = Pick<CaptureOverview, 'seconds' | 'firstArrivalUs' | 'lastArrivalUs'>;
type ForecastWindow = Pick<ReplayWindow, 'parts' | 'loops' | 'durationNs'>;

const SECOND_US = 1_000_000;
/** Passes over repeated windows that are summed one by one; beyond, each counts as the mean of these. */
const SUMMED_PASSES = 6;
/** Stages ask something else of every pass, so that more of them are summed. */
const SUMMED_STAGED_PASSES = 10_000;
/** Seconds that were passed are kept until so many can go at once. */
const TRIM_AFTER = 4_096;

/**
 * Estimates what is played of windows that follow each other.
 * @param isSelective filters leave some of it out: nobody knows where the rest begins, so all of it bounds the peak
 */
export function forecastOf(
  rollUps: RollUps,
  window: ForecastWindow,
  scaling: Scaling,
  isSelective = false,
): Forecast {
  const endUs = reachUs(scaling, window.durationNs);
  const eachUs = passUs(window.parts);
  const most = window.loops ?? Number.POSITIVE_INFINITY;
  const passes = Math.min(most, Math.ceil(endUs / eachUs) + 1);
  const summed = Math.min(passes, scaling.curve.constant ? SUMMED_PASSES : SUMMED_STAGED_PASSES);
  const isWhole = summed === passes;
  const layers = scaling.layers.map(({ shiftUs }, layer) =>
    sumOf(secondsOf(rollUps, window.parts, summed, shiftUs), scaling, layer, {
      endUs: isWhole ? endUs : Number.POSITIVE_INFINITY,
      isSelective,
    }),
  );
  const repeated = isWhole ? 1 : Math.min(most, endUs / eachUs) / summed;
  const meeting = Math.min(passes, Math.ceil((scaling.meetingSeconds * SECOND_US) / eachUs) + 1);
  // The window itself comes first.
  const own = layers[0]!;
  const planned = sum(layers, (layer) => layer.planned);
  // A rate takes exchange after exchange, however dense they were, until it has as many as it makes or there are none.
  const made = scaling.instants?.count ?? Number.POSITIVE_INFINITY;
  const counted = (estimate: number) =>
    window.loops === null && scaling.instants !== null ? made : Math.min(made, estimate);
  return {
    exchanges: counted(Math.round(own.exchanges * repeated)),
    plannedExchanges: counted(Math.round(planned * repeated)),
    timesEach: own.exchanges === 0 ? 1 : planned / own.exchanges,
    peakSecond: own.busiest.exchanges > 0 ? own.busiest.second : null,
    recordedPeakPerSecond: own.busiest.exchanges,
    plannedPeakPerSecond:
      scaling.instants?.peakPerSecond ??
      sum(layers, (layer) => layer.peak) *
        Math.ceil(scaling.loadAt(scaling.curve.max).copies) *
        Math.max(1, meeting / summed),
  };
}

/** Where a plan ends, and which limit ends it: the limit that comes first. */
export interface PlanEnd {
  readonly with: 'windows' | 'stages' | 'duration';
  /** Nanoseconds of the run, with the copies that come after what they repeat. */
  readonly offsetNs: number;
  /** How far into its windows that is, all passes together, microseconds of the recording; seams are left out. */
  readonly playedUs: number;
}

/** What ends a plan of these windows. */
export function planEndOf(scaling: Scaling, { onceNs, loops, durationNs }: ReplayWindow): PlanEnd {
  const once = (onceNs / 1e3) * scaling.minPace;
  const windowsUs = loops === null ? Number.POSITIVE_INFINITY : once * loops;
  const { latestCopyUs, endUs } = scaling;
  // Copies of what was played until the stages were over are played as well.
  const stagesNs = latestCopyUs === 0 ? scaling.curve.durationNs : scaling.offsetNsAt(endUs + latestCopyUs);
  const ends = [
    { with: 'windows', offsetNs: scaling.offsetNsAt(windowsUs + latestCopyUs) },
    { with: 'stages', offsetNs: stagesNs },
    { with: 'duration', offsetNs: durationNs ?? Number.POSITIVE_INFINITY },
  ] as const;
  const first = ends.reduce((least, each) => (each.offsetNs < least.offsetNs ? each : least));
  return { ...first, playedUs: Math.min(windowsUs, reachUs(scaling, durationNs)) };
}

/** How far into windows that never end the stages and the duration let a run come, microseconds. */
function reachUs(scaling: Scaling, durationNs: number | null): number {
  return scaling.playedUs(durationNs ?? Number.POSITIVE_INFINITY);
}

/** What a pass over the windows takes as recorded; a lone instant is repeated no sooner than after its seam. */
function passUs(parts: readonly TimeRange[]): number {
  const lengthUs = parts.reduce((length, { fromUs, toUs }) => length + toUs - fromUs, 0);
  return lengthUs <= parts.length ? LONE_SEAM_US : lengthUs;
}

/** A recorded second, or its part in a window, at the time when it is played. */
interface PlayedSecond {
  /** As it was recorded, epoch seconds. */
  readonly second: number;
  /** All that was recorded in it, in the window or not. */
  readonly exchanges: number;
  /** Share of that which lies in the window. */
  readonly share: number;
  /**
   * Its place on a timeline where windows follow each other edge to edge, microseconds. Seams only lengthen it, so
   * seconds are never played closer together than here.
   */
  readonly fromUs: number;
  readonly toUs: number;
}

/** The seconds of windows in the order they are played, or those of a stretch so far from each window. */
function* secondsOf(
  rollUps: RollUps,
  windows: readonly TimeRange[],
  passes: number,
  shiftUs: number,
): Generator<PlayedSecond> {
  let beginUs = 0;
  for (let pass = 0; pass < passes; pass += 1) {
    for (const { fromUs, toUs } of windows) {
      yield* secondsWithin(rollUps, { fromUs: fromUs + shiftUs, toUs: toUs + shiftUs }, beginUs);
      beginUs += toUs - fromUs;
    }
  }
}

/** Of one window, which begins there. */
function* secondsWithin(rollUps: RollUps, window: TimeRange, beginUs: number): Generator<PlayedSecond> {
  const firstUs = rollUps.firstArrivalUs ?? Number.NEGATIVE_INFINITY;
  const endUs = (rollUps.lastArrivalUs ?? Number.POSITIVE_INFINITY) + 1;
  for (const { second, exchanges } of rollUps.seconds(window)) {
    const secondUs = second * SECOND_US;
    const fromUs = Math.max(secondUs, window.fromUs);
    const toUs = Math.min(secondUs + SECOND_US, window.toUs);
    if (fromUs >= toUs) continue;
    const heldFromUs = Math.max(secondUs, firstUs);
    const heldToUs = Math.min(secondUs + SECOND_US, endUs);
    const heldUs = Math.min(heldToUs, toUs) - Math.max(heldFromUs, fromUs);
    yield {
      second,
      exchanges,
      share: Math.max(0, heldUs / (heldToUs - heldFromUs)),
      fromUs: beginUs + fromUs - window.fromUs,
      toUs: beginUs + toUs - window.fromUs,
    };
  }
}

/** What the seconds of one layer come to; not rounded. */
interface LayerSum {
  readonly exchanges: number;
  readonly planned: number;
  /** Of what one second of the run may meet, each exchange once. */
  readonly peak: number;
  readonly busiest: Pick<PlayedSecond, 'second' | 'exchanges'>;
}

/**
 * Sums seconds in one pass, each at the multiplier that holds there. The run begins with its first arrival, wherever in
 * its second that lies: counts take it for the second's begin. A second that lies in the window in part may hold nothing
 * there, so the peak is bounded up to where the run ends if its first arrival were the last of the first whole second.
 */
function sumOf(
  seconds: Iterable<PlayedSecond>,
  scaling: Scaling,
  layer: number,
  { endUs, isSelective }: { readonly endUs: number; readonly isSelective: boolean },
): LayerSum {
  const meeting = new MeetingSeconds(scaling.meetingSeconds * SECOND_US);
  let beginUs: number | null = null;
  let stopUs = Number.POSITIVE_INFINITY;
  let [exchanges, planned] = [0, 0];
  let busiest: LayerSum['busiest'] = { second: 0, exchanges: 0 };
  for (const each of seconds) {
    if (each.fromUs >= stopUs) break;
    beginUs ??= each.fromUs;
    if (each.share === 1 && !isSelective) stopUs = Math.min(stopUs, each.toUs + endUs);
    meeting.add(each);
    if (each.exchanges > busiest.exchanges) busiest = each;
    const playedUs = Math.min(beginUs + endUs, each.toUs) - each.fromUs;
    if (playedUs <= 0) continue;
    const played = each.exchanges * each.share * (playedUs / (each.toUs - each.fromUs));
    const multiplier = scaling.curve.multiplierAt((each.fromUs - beginUs) * 1e3);
    const { kept, copies } = scaling.loadAt(multiplier);
    exchanges += played;
    planned += played * kept * copies * scaling.layerShare(layer, multiplier);
  }
  return { exchanges, planned, peak: meeting.most, busiest };
}

/**
 * The most exchanges that a stretch of this length may touch, wherever it begins. A stretch that reaches into a second
 * also touches earlier seconds that end less than its length before. Sums over these neighbours bound every alignment.
 */
class MeetingSeconds {
  readonly #lengthUs: number;
  readonly #recent: PlayedSecond[] = [];
  #oldest = 0;
  #sum = 0;
  most = 0;

  constructor(lengthUs: number) {
    this.#lengthUs = lengthUs;
  }

  add(each: PlayedSecond): void {
    this.#recent.push(each);
    this.#sum += each.exchanges;
    for (let oldest = this.#recent[this.#oldest]; oldest !== undefined; oldest = this.#recent[this.#oldest]) {
      if (oldest.toUs > each.fromUs - this.#lengthUs) break;
      this.#sum -= oldest.exchanges;
      this.#oldest += 1;
    }
    if (this.#oldest > TRIM_AFTER) {
      this.#recent.splice(0, this.#oldest);
      this.#oldest = 0;
    }
    this.most = Math.max(this.most, this.#sum);
  }
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
