import { isTurnedAway, type Send } from '../../core/run.ts';
import type { RepeatFigures } from '../../documents/replay.ts';
import { spreadOf, windowCount, windowEdges } from '../compare/intervals.ts';
import { studentT } from '../stats/percentiles.ts';

/** The most first sends that wait for their repeat. Further exchanges are not compared. */
const MAX_FIRSTS = 50_000;
/** Confidence that repeats are faster, one-sided. */
const CONFIDENCE = 0.999;
/** Smaller differences do not count: as a ratio, and in nanoseconds, which is the error of a timer. */
const LEAST_RATIO = 1.1;
const LEAST_DIFFERENCE_NS = 1e6;
/** The fastest repeats (this share) must be faster than the fastest first sends by this ratio. */
const QUICKEST = 0.01;
const QUICKEST_RATIO = 1.5;

/** Two sends of the same exchange, with their durations. */
interface Pair extends Pick<Send, 'intendedOffsetNs' | 'route'> {
  readonly firstNs: number;
  readonly repeatNs: number;
}

type Times = Pick<Send, 'intendedOffsetNs' | 'route'> & {
  readonly latencyNs: number;
  readonly ttftNs: number | null;
};

/**
 * Compares the first send of each recorded exchange with the second. The second belongs to another pass over the
 * window, or is a copy. There is one pair for each exchange, so that pairs are independent. Repeats by production
 * itself are different exchanges.
 */
export class RepeatStatistics {
  /** First sends by segment and id; null once paired. */
  readonly #firsts = new Map<string, Map<number, Times | null>>();
  #count = 0;
  readonly #latency: Pair[] = [];
  readonly #ttft: Pair[] = [];

  /** Adds a finished send, in any order. */
  add(send: Send): void {
    const times = timesOf(send);
    if (times === null) return;
    const ofSegment = this.#firsts.get(send.segment) ?? new Map<number, Times | null>();
    const other = ofSegment.get(send.exchangeId);
    if (other === null || (other === undefined && this.#count === MAX_FIRSTS)) return;
    this.#firsts.set(send.segment, ofSegment);
    ofSegment.set(send.exchangeId, other === undefined ? times : null);
    if (other === undefined) this.#count += 1;
    else if (other.intendedOffsetNs <= times.intendedOffsetNs) this.#pair(other, times);
    else this.#pair(times, other);
  }

  /** Null if nothing was sent twice. */
  figures(): RepeatFigures | null {
    if (this.#latency.length === 0) return null;
    const ofLatency = { time: 'latency' as const, ...comparisonOf(this.#latency) };
    if (ofLatency.faster || this.#ttft.length === 0) return ofLatency;
    const ofTtft = { time: 'ttft' as const, ...comparisonOf(this.#ttft) };
    return ofTtft.faster ? ofTtft : ofLatency;
  }

  #pair(first: Times, repeat: Times): void {
    const { intendedOffsetNs, route } = first;
    this.#latency.push({ intendedOffsetNs, route, firstNs: first.latencyNs, repeatNs: repeat.latencyNs });
    if (first.ttftNs === null || repeat.ttftNs === null) return;
    this.#ttft.push({ intendedOffsetNs, route, firstNs: first.ttftNs, repeatNs: repeat.ttftNs });
  }
}

/** Times from the actual send; null if the request was not served. */
function timesOf(send: Send): Times | null {
  const { actualOffsetNs, lastByteOffsetNs, status, error, cancelled, answer } = send;
  const { intendedOffsetNs, route } = send;
  if (actualOffsetNs === null || lastByteOffsetNs === null || error !== null || cancelled) return null;
  if (status === null || status >= 500 || isTurnedAway(status)) return null;
  const firstNs = answer?.firstTokenOffsetNs ?? null;
  return {
    intendedOffsetNs,
    route,
    latencyNs: Math.max(1, lastByteOffsetNs - actualOffsetNs),
    ttftNs: firstNs === null ? null : Math.max(1, firstNs - actualOffsetNs),
  };
}

/** Compares over windows of the run, because a slow moment of the target affects all pairs of that moment. */
function comparisonOf(pairs: Pair[]): Omit<RepeatFigures, 'time'> {
  pairs.sort((one, other) => one.intendedOffsetNs - other.intendedOffsetNs);
  const firstNs = typicalNs(pairs, ({ firstNs }) => firstNs);
  const repeatNs = typicalNs(pairs, ({ repeatNs }) => repeatNs);
  const figures = { pairs: pairs.length, firstMs: firstNs / 1e6, repeatMs: repeatNs / 1e6 };
  const windows = windowCount(pairs.length, 1);
  if (windows === 0 || firstNs - repeatNs < LEAST_DIFFERENCE_NS || firstNs < repeatNs * LEAST_RATIO)
    return { ...figures, faster: false };
  const ratios = Array.from({ length: windows }, (_, at) => {
    const within = pairs.slice(...windowEdges(pairs.length, windows, at));
    return (
      within.reduce((sum, { firstNs, repeatNs }) => sum + Math.log(firstNs / repeatNs), 0) / within.length
    );
  });
  const { mean, error } = spreadOf(ratios);
  const isSure = mean > studentT(CONFIDENCE, windows - 1) * error;
  return { ...figures, faster: isSure && quicknessOf(pairs) >= Math.log(QUICKEST_RATIO) };
}

/**
 * How much faster the fastest repeats of a route are than its fastest first sends, in logarithms. Copies may be spread
 * where original requests came together, and then wait less for each other. The fastest requests are not affected by
 * this.
 */
function quicknessOf(pairs: readonly Pair[]): number {
  let sum = 0;
  for (const ofRoute of Map.groupBy(pairs, ({ route }) => route).values()) {
    const quickest = (timeOf: (pair: Pair) => number): number => {
      const times = ofRoute.map(timeOf).sort((a, b) => a - b);
      return times[Math.floor(QUICKEST * (times.length - 1))]!;
    };
    const ratio = quickest(({ firstNs }) => firstNs) / quickest(({ repeatNs }) => repeatNs);
    sum += ofRoute.length * Math.log(ratio);
  }
  return sum / pairs.length;
}

/** The geometric mean, which a single slow answer hardly changes. */
function typicalNs(pairs: readonly Pair[], timeOf: (pair: Pair) => number): number {
  return Math.exp(pairs.reduce((sum, pair) => sum + Math.log(timeOf(pair)), 0) / pairs.length);
}
