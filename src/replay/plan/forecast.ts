import type { TimeRange } from '../../core/ports.ts';
import { US_PER_S } from '../../core/units.ts';
import type { CaptureOverview } from '../window/capture.ts';
import { LONE_SEAM_US } from '../window/playback.ts';
import type { ReplayWindow } from '../window/window.ts';
import type { Scaling } from './scaling.ts';

/** The expected load of a replay, estimated from roll-ups. A dry run counts it exactly. */
export interface Forecast {
  /** Exchanges of the windows. A second that is partly in a window counts with the same part. */
  readonly exchanges: number;
  /** Planned requests, on average over all seeds. */
  readonly plannedExchanges: number;
  /** How often each exchange is planned on average, not rounded; 1 if there are no exchanges. */
  readonly timesEach: number;
  /** The busiest recorded second, epoch seconds; null if nothing was recorded. */
  readonly peakSecond: number | null;
  readonly recordedPeakPerSecond: number;
  /** Upper bound of the planned requests in any second of the replay. */
  readonly plannedPeakPerSecond: number;
}

/** Roll-ups, and the range of arrivals of a capture. Its first and last second have arrivals only in a part. */
type RollUps = Pick<CaptureOverview, 'seconds' | 'firstArrivalUs' | 'lastArrivalUs'>;
type ForecastWindow = Pick<ReplayWindow, 'parts' | 'loops' | 'durationNs'>;

/** Passes over repeated windows that are summed one by one. Further passes count as the mean of these. */
const SUMMED_PASSES = 6;
/** With stages, passes differ, so more of them are summed. */
const SUMMED_STAGED_PASSES = 10_000;
/** Passed seconds are kept until this many can be removed at once. */
const TRIM_AFTER = 4_096;

/**
 * Estimates the load of consecutive windows.
 * @param isSelective whether filters leave exchanges out. Then the begin is unknown, and all exchanges bound the peak.
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
  const meeting = Math.min(passes, Math.ceil((scaling.meetingSeconds * US_PER_S) / eachUs) + 1);
  // The first layer is the window itself.
  const own = layers[0]!;
  const planned = sum(layers, (layer) => layer.planned);
  // A fixed rate uses exchanges one after the other, independent of their recorded times, until it has enough or there
  // are no more.
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

/** Where a plan ends, and the first limit that ends it. */
export interface PlanEnd {
  readonly with: 'windows' | 'stages' | 'duration';
  /** Nanoseconds of the run, including copies, which come after their originals. */
  readonly offsetNs: number;
  /** The same as replayed time of the windows over all passes, microseconds of the recording, without seams. */
  readonly playedUs: number;
}

/** The end of a plan of these windows. */
export function planEndOf(scaling: Scaling, { onceNs, loops, durationNs }: ReplayWindow): PlanEnd {
  const once = (onceNs / 1e3) * scaling.minPace;
  const windowsUs = loops === null ? Number.POSITIVE_INFINITY : once * loops;
  const { latestCopyUs, endUs } = scaling;
  // Copies of exchanges before the end of the stages are also sent.
  const stagesNs = latestCopyUs === 0 ? scaling.curve.durationNs : scaling.offsetNsAt(endUs + latestCopyUs);
  const ends = [
    { with: 'windows', offsetNs: scaling.offsetNsAt(windowsUs + latestCopyUs) },
    { with: 'stages', offsetNs: stagesNs },
    { with: 'duration', offsetNs: durationNs ?? Number.POSITIVE_INFINITY },
  ] as const;
  const first = ends.reduce((least, each) => (each.offsetNs < least.offsetNs ? each : least));
  return { ...first, playedUs: Math.min(windowsUs, reachUs(scaling, durationNs)) };
}

/** How far a run comes into endless windows within the stages and the duration, microseconds. */
function reachUs(scaling: Scaling, durationNs: number | null): number {
  return scaling.playedUs(durationNs ?? Number.POSITIVE_INFINITY);
}

/** The recorded length of a pass over the windows; for single instants, the length of the seam. */
function passUs(parts: readonly TimeRange[]): number {
  const lengthUs = parts.reduce((length, { fromUs, toUs }) => length + toUs - fromUs, 0);
  return lengthUs <= parts.length ? LONE_SEAM_US : lengthUs;
}

/** A recorded second, or its part in a window, with its position in the replay. */
interface PlayedSecond {
  /** The recorded second, epoch seconds. */
  readonly second: number;
  /** All its exchanges, inside and outside the window. */
  readonly exchanges: number;
  /** Share of these that is in the window. */
  readonly share: number;
  /**
   * Its position on a timeline where windows follow each other edge to edge, microseconds. Seams only lengthen the
   * timeline, so seconds are never closer together than here.
   */
  readonly fromUs: number;
  readonly toUs: number;
}

/** The seconds of windows in replay order. With a shift, those of the ranges at that distance from each window. */
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

/** The seconds of one window, which begins at `beginUs` on the timeline. */
function* secondsWithin(rollUps: RollUps, window: TimeRange, beginUs: number): Generator<PlayedSecond> {
  const firstUs = rollUps.firstArrivalUs ?? Number.NEGATIVE_INFINITY;
  const endUs = (rollUps.lastArrivalUs ?? Number.POSITIVE_INFINITY) + 1;
  for (const { second, exchanges } of rollUps.seconds(window)) {
    const secondUs = second * US_PER_S;
    const fromUs = Math.max(secondUs, window.fromUs);
    const toUs = Math.min(secondUs + US_PER_S, window.toUs);
    if (fromUs >= toUs) continue;
    const heldFromUs = Math.max(secondUs, firstUs);
    const heldToUs = Math.min(secondUs + US_PER_S, endUs);
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

/** The sums over the seconds of one layer; not rounded. */
interface LayerSum {
  readonly exchanges: number;
  readonly planned: number;
  /** The most exchanges that one second of the run can contain, each counted once. */
  readonly peak: number;
  readonly busiest: Pick<PlayedSecond, 'second' | 'exchanges'>;
}

/**
 * Sums seconds in one pass, each at the multiplier that applies there. The run begins with its first arrival; counts
 * assume that it is at the begin of its second. A partly covered second may have no arrivals inside the window. So for
 * the peak, the first arrival may be as late as the end of the first complete second.
 */
function sumOf(
  seconds: Iterable<PlayedSecond>,
  scaling: Scaling,
  layer: number,
  { endUs, isSelective }: { readonly endUs: number; readonly isSelective: boolean },
): LayerSum {
  const meeting = new MeetingSeconds(scaling.meetingSeconds * US_PER_S);
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
 * The most exchanges in any period of this length, for any begin. A period that reaches into a second also covers
 * earlier seconds that end less than its length before. Sums over these neighbours are an upper bound for every
 * alignment.
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
