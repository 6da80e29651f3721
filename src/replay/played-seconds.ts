import type { TimeRange } from '../core/ports.ts';
import type { CaptureOverview } from './capture-overview.ts';

const SECOND_US = 1_000_000;

/** A recorded second, or what of it lies in a window, where it is played. */
export interface PlayedSecond {
  /** As it was recorded, epoch seconds. */
  readonly second: number;
  /** All that was recorded in it, in the window or not. */
  readonly exchanges: number;
  /** Share of that which is played: a second at an edge lies in the window in part. */
  readonly share: number;
  /**
   * Where it lies on a time on which windows follow each other edge to edge, microseconds. Seams only ever lengthen
   * that: what lies apart here is played no nearer.
   */
  readonly fromUs: number;
  readonly toUs: number;
}

/** The seconds that are played, in order; or those of a stretch so many microseconds from each window. */
export type PlayedSeconds = (shiftUs: number) => Iterable<PlayedSecond>;

/** Roll-ups, and where a capture has arrivals at all: a second at its ends holds them in a part of it. */
type RollUps = Pick<CaptureOverview, 'seconds' | 'firstArrivalUs' | 'lastArrivalUs'>;

/** The seconds of windows in the order they are played, all of them so often. Each is read as it is asked for. */
export function playedSeconds(rollUps: RollUps, windows: readonly TimeRange[], passes = 1): PlayedSeconds {
  return function* (shiftUs) {
    let beginUs = 0;
    for (let pass = 0; pass < passes; pass += 1) {
      for (const { fromUs, toUs } of windows) {
        yield* secondsOf(rollUps, { fromUs: fromUs + shiftUs, toUs: toUs + shiftUs }, beginUs);
        beginUs += toUs - fromUs;
      }
    }
  };
}

/** Of one window, which begins there. */
function* secondsOf(rollUps: RollUps, window: TimeRange, beginUs: number): Generator<PlayedSecond> {
  const firstUs = rollUps.firstArrivalUs ?? Number.NEGATIVE_INFINITY;
  const endUs = (rollUps.lastArrivalUs ?? Number.POSITIVE_INFINITY) + 1;
  for (const { second, exchanges } of rollUps.seconds(window)) {
    const secondUs = second * SECOND_US;
    const fromUs = Math.max(secondUs, window.fromUs);
    const toUs = Math.min(secondUs + SECOND_US, window.toUs);
    if (fromUs >= toUs) continue;
    const heldFromUs = Math.max(secondUs, firstUs);
    const heldToUs = Math.min(secondUs + SECOND_US, endUs);
    const playedUs = Math.min(heldToUs, toUs) - Math.max(heldFromUs, fromUs);
    yield {
      second,
      exchanges,
      share: Math.max(0, playedUs / (heldToUs - heldFromUs)),
      fromUs: beginUs + fromUs - window.fromUs,
      toUs: beginUs + toUs - window.fromUs,
    };
  }
}

/** Seconds of several streams in one order. */
export function* inOneOrder(streams: readonly Iterable<PlayedSecond>[]): Generator<PlayedSecond> {
  const iterators = streams.map((stream) => stream[Symbol.iterator]());
  const heads = iterators.map(next);
  for (;;) {
    let least = 0;
    for (const [at, head] of heads.entries()) {
      if (head !== null && head.fromUs < (heads[least]?.fromUs ?? Number.POSITIVE_INFINITY)) least = at;
    }
    const head = heads[least] ?? null;
    if (head === null) return;
    yield head;
    heads[least] = next(iterators[least]!);
  }
}

function next(stream: Iterator<PlayedSecond>): PlayedSecond | null {
  const step = stream.next();
  return step.done ? null : step.value;
}

/** How much of its windows a run plays. */
export interface Reach {
  /** Where its first arrival lies on the windows' time, microseconds; null for in the first second that there is. */
  readonly firstUs: number | null;
  /** How long after that it ends, microseconds; infinite with the windows. */
  readonly endUs: number;
}

/**
 * As far as a run comes that ends so long after its first arrival. Where in its second that arrival lies roll-ups do
 * not say, unless it was looked up: what is summed by shares takes it for the second's begin, and seconds are told of
 * up to where the run ends if it came last, so that whatever sums them whole has a bound. A second that lies in the
 * window in part may hold nothing there: the first whole one surely holds an arrival.
 */
export function* until(seconds: Iterable<PlayedSecond>, { firstUs, endUs }: Reach): Generator<PlayedSecond> {
  const playedFromUs = firstUs ?? Number.NEGATIVE_INFINITY;
  let playedToUs = firstUs === null ? null : firstUs + endUs;
  let lastUs = playedToUs ?? Number.POSITIVE_INFINITY;
  for (const each of seconds) {
    const { fromUs, toUs, share } = each;
    if (toUs <= playedFromUs) continue;
    if (fromUs >= lastUs) return;
    playedToUs ??= fromUs + endUs;
    if (firstUs === null && share === 1) lastUs = Math.min(lastUs, toUs + endUs);
    const playedUs = Math.min(playedToUs, toUs) - Math.max(playedFromUs, fromUs);
    const played = Math.max(0, playedUs / (toUs - fromUs));
    // Most are told of as they are: a week has 600,000 of them.
    yield played === 1 ? each : { ...each, share: share * played };
  }
}
