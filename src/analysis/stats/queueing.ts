import type { ServedKinds } from './mixed-queues.ts';
import { correlation, foundInFlight, ranksOf } from './queues.ts';

/** Only this many first requests of a run are kept. */
const MOST_KEPT = 16_384;
/** Only this many first requests are compared with each other. Their queue is taken as typical of a longer run. */
const MOST_COMPARED = 4_096;
/** Fewer requests do not show a queue, because neighbours may be similar by chance. */
const LEAST_KEPT = 20;
/** The correlation of independent neighbours exceeds this divided by √n once in twenty times. */
const CHANCE = 1.65;
/**
 * Largest lag. With several queues, a request is similar to one some places before: at one lag if they take turns, else
 * a little at each lag.
 */
const MOST_LAGS = 32;
/**
 * Once in a hundred times by chance, a correlation at any lag exceeds the first divided by √n, and their mean exceeds
 * the second divided by √(n lags).
 */
const CHANCE_OF_ANY = 3.4;
const CHANCE_OF_MEAN = 2.33;

/** Further kinds of requests count as one. */
const MOST_KINDS = 32;

const ALWAYS_ALIKE = 1 - 1e-9;
/**
 * From simulated queues of 200 to 4,000 requests: without it, a percentile 5 % over its limit passes in over 5 % of
 * them.
 */
const SAFETY = 1.5;

/** What a short run reveals about its queue. */
export interface SeenQueue {
  /**
   * How many states of the queue were seen. Infinity if neighbours are not similar, which means that there is no queue.
   */
  readonly states: number;
  /** The most independent samples that the requests are worth. */
  readonly samples: number;
}

const NO_QUEUE: SeenQueue = { states: Number.POSITIVE_INFINITY, samples: Number.POSITIVE_INFINITY };

/**
 * Detects whether the requests of a short run queued. Windows cannot show it: near saturation a queue keeps its length
 * for longer than such a run, so all windows are similar. But then each request waits about as long as the previous
 * one, and the number in flight changes slowly. That number follows from the instants and times. Its relaxation time,
 * as of an AR(1) process, is (1 + r) / (1 − r) arrivals. It gives the number of states of the queue that the run saw.
 * It also gives the number of samples that the requests are worth: the design effect of an AR(1) process, for the part
 * of a time that the queue causes.
 */
export class QueueSeries {
  /** Pairs of an instant after the start of the run and a time, nanoseconds. Exact to 0.3 ms within the first hour. */
  #pairs = new Float32Array(64);
  #kinds = new Uint8Array(32);
  readonly #kindNumbers = new Map<string, number>();
  #kept = 0;
  #count = 0;
  #cached: Found | null = null;
  #whole: ServedKinds | null = null;
  readonly #most: number;

  /** @param isRun whether these may be all requests of a run, and not a part of them */
  constructor(isRun = true) {
    this.#most = isRun ? MOST_KEPT : MOST_COMPARED;
  }

  record(offsetNs: number, durationNs: number, kind = ''): void {
    this.#count += 1;
    if (this.#kept === this.#most) return;
    if (2 * this.#kept === this.#pairs.length) {
      const pairs = new Float32Array(2 * this.#pairs.length);
      pairs.set(this.#pairs);
      this.#pairs = pairs;
      const kinds = new Uint8Array(this.#pairs.length / 2);
      kinds.set(this.#kinds);
      this.#kinds = kinds;
    }
    this.#kinds[this.#kept] = this.#numberOf(kind);
    this.#pairs[2 * this.#kept] = offsetNs;
    this.#pairs[2 * this.#kept + 1] = durationNs;
    this.#kept += 1;
    this.#cached = null;
    this.#whole = null;
  }

  /**
   * What a run reveals about its queue; null if too few requests were recorded. If these requests are only a part of
   * the run, they may wait in a queue of their own or in that of the whole run. Their times follow the number in flight
   * of that queue.
   * @param ofRun all requests of the run, if these are only a part
   * @param share share of these requests in the run, from 0 to 1
   */
  seen(ofRun: QueueSeries | null = null, share = 1): SeenQueue | null {
    if (this.#count < LEAST_KEPT) return null;
    const found = this.#found();
    const ranks = ranksOf(found.durations);
    const times = likenessOfTimes(ranks);
    if (times === null) return NO_QUEUE;
    const run = ofRun !== null && isOfRun(found, ranks, ofRun.#found()) ? ofRun : null;
    const inFlight = run === null ? found.likeness : run.#found().likeness ** (1 / share);
    const relaxation = (1 + inFlight) / (1 - inFlight);
    // The part of a time that the queue causes. The square root increases it, because a short run shows a calmer part.
    const part = Math.sqrt(Math.min(1, times / Math.max(inFlight, times)));
    const { kept, count } =
      run === null
        ? { kept: this.#compared, count: this.#count }
        : { kept: run.#compared, count: run.#count };
    return {
      // Only kept requests count, because in a longer run the queue may change more slowly than they show.
      states: (this.#count * (kept / count)) / relaxation,
      samples: this.#count / (1 + SAFETY * part * (relaxation - 1)),
    };
  }

  #found(): Found {
    this.#cached ??= this.#ordered();
    return this.#cached;
  }

  #ordered(): Found {
    const served = this.#served(this.#compared);
    const inFlight = foundInFlight(served);
    const likeness = Math.min(ALWAYS_ALIKE, Math.max(0, likenessAt(1, inFlight)));
    return { instants: served.arrivals, durations: served.latencies, inFlight, likeness };
  }

  #numberOf(kind: string): number {
    const known = this.#kindNumbers.get(kind);
    if (known !== undefined) return known;
    const next = this.#kindNumbers.size;
    if (next === MOST_KINDS) return MOST_KINDS;
    this.#kindNumbers.set(kind, next);
    return next;
  }

  get #compared(): number {
    return Math.min(this.#kept, MOST_COMPARED);
  }

  /** All requests of the run in the order of their instants; null if it had more than are kept. */
  get whole(): ServedKinds | null {
    if (this.#count > this.#kept) return null;
    this.#whole ??= this.#served(this.#kept);
    return this.#whole;
  }

  #served(first: number): ServedKinds {
    const order = [...Array(first).keys()].sort((a, b) => this.#pairs[2 * a]! - this.#pairs[2 * b]!);
    return {
      arrivals: Float64Array.from(order, (at) => this.#pairs[2 * at]!),
      latencies: Float64Array.from(order, (at) => this.#pairs[2 * at + 1]!),
      kinds: Uint8Array.from(order, (at) => this.#kinds[at]!),
    };
  }
}

/** Requests in the order of their instants, and how many requests each found in flight. */
interface Found {
  readonly instants: Float64Array;
  readonly durations: Float64Array;
  readonly inFlight: Float64Array;
  /** Autocorrelation of the number in flight, from one request to the next. */
  readonly likeness: number;
}

/** Whether times follow the number in flight of the whole run better than that of these requests. */
function isOfRun(part: Found, ranks: Float64Array, run: Found): boolean {
  const end = run.instants.at(-1) ?? Number.NEGATIVE_INFINITY;
  const both = part.instants.filter((instant) => instant <= end).length;
  if (both < LEAST_KEPT) return false;
  let at = 0;
  const inFlight = part.instants.subarray(0, both).map((instant) => {
    while (run.instants[at]! < instant) at += 1;
    return run.inFlight[at]!;
  });
  const times = ranks.subarray(0, both);
  const own = correlation(times, part.inFlight.subarray(0, both));
  return correlation(times, inFlight) > Math.max(own, CHANCE / Math.sqrt(both));
}

/** How similar neighbouring times are; null if that may be chance. */
function likenessOfTimes(times: Float64Array): number | null {
  const chance = 1 / Math.sqrt(times.length);
  const lags = Math.min(MOST_LAGS, Math.floor(times.length / 6));
  const likeness = Array.from({ length: lags }, (_, at) => likenessAt(at + 1, times));
  const next = likeness[0]!;
  if (next > CHANCE * chance) return next;
  const turns = likeness.findIndex((each) => each > CHANCE_OF_ANY * chance) + 1;
  if (turns > 0) {
    const inTurn = likenessAt(turns, withoutTurns(times, turns));
    // Subtracting the mean of a few values makes them less similar by chance, which is corrected here.
    if (inTurn + turns / times.length > CHANCE * chance) return likeness[turns - 1]!;
  }
  const mean = likeness.reduce((sum, each) => sum + each, 0) / lags;
  return mean > (CHANCE_OF_MEAN * chance) / Math.sqrt(lags) ? mean : null;
}

/** Subtracts the mean of each position in turn. Kinds of requests that take turns are similar without a queue. */
function withoutTurns(values: Float64Array, turns: number): Float64Array {
  const sums = new Float64Array(turns);
  for (const [at, value] of values.entries()) sums[at % turns]! += value;
  return values.map(
    (value, at) => value - sums[at % turns]! / Math.ceil((values.length - (at % turns)) / turns),
  );
}

/** Autocorrelation; 0 if nothing varies. */
function likenessAt(lag: number, values: Float64Array): number {
  const mean = meanOf(values);
  let [together, alone] = [0, 0];
  for (let at = 0; at < values.length; at++) {
    const difference = values[at]! - mean;
    alone += difference ** 2;
    if (at >= lag) together += difference * (values[at - lag]! - mean);
  }
  return alone === 0 ? 0 : together / alone;
}

function meanOf(values: Float64Array): number {
  return values.reduce((sum, each) => sum + each, 0) / values.length;
}
