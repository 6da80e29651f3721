/** The first requests that are kept. How fast their queue empties is taken as typical of a longer run. */
const MOST_KEPT = 4_096;
/** Fewer requests show no queue: chance alone makes neighbours alike. */
const LEAST_KEPT = 20;
/** Independent neighbours are alike by more than this over √n once in twenty times. */
const CHANCE = 1.65;
/** Behind several queues a request is like one a few places before it: in turn at one lag, else a little at each. */
const MOST_LAGS = 32;
/** By chance any of so many is more than this over √n once in a hundred times, and so is their mean over √(n lags). */
const CHANCE_OF_ANY = 3.4;
const CHANCE_OF_MEAN = 2.33;

const ALWAYS_ALIKE = 1 - 1e-9;
/** By drawn queues of 200 to 4,000 requests: without it a percentile 5 % over its limit passes in over 5 % of them. */
const SAFETY = 1.5;

/** What a short run shows about its queue. */
export interface SeenQueue {
  /** How many states of the queue were seen; Infinity where neighbours are not alike, so that there is no queue. */
  readonly states: number;
  /** How many independent samples the requests are worth at most. */
  readonly samples: number;
}

const NO_QUEUE: SeenQueue = { states: Number.POSITIVE_INFINITY, samples: Number.POSITIVE_INFINITY };

/**
 * Whether the requests of a short run queued. Windows cannot see it: a queue near saturation keeps its length for
 * longer than such a run lasts, so that all of its windows are alike. But each request then waits about as long as the
 * one before it, and the number in flight wanders where it else would return at once. That number is known from the
 * instants and the times alone. How fast it returns (its relaxation, as of an AR(1) process: (1 + r) / (1 − r) arrivals)
 * says how many states of the queue the run has seen, and how many samples its requests are worth (the design effect
 * of an AR(1) process, as far as a time is made by the queue).
 */
export class QueueSeries {
  /** Pairs of an instant after the start of the run and a time, nanoseconds: exact to 0.3 ms within the first hour. */
  #pairs = new Float32Array(64);
  #kept = 0;
  #count = 0;
  #cached: Found | null = null;

  record(offsetNs: number, durationNs: number): void {
    this.#count += 1;
    if (this.#kept === MOST_KEPT) return;
    if (2 * this.#kept === this.#pairs.length) {
      const pairs = new Float32Array(2 * this.#pairs.length);
      pairs.set(this.#pairs);
      this.#pairs = pairs;
    }
    this.#pairs[2 * this.#kept] = offsetNs;
    this.#pairs[2 * this.#kept + 1] = durationNs;
    this.#kept += 1;
    this.#cached = null;
  }

  /**
   * What a run tells of its queue; null for one of which too little was recorded to say. Some requests of a run find
   * its queue as it is, but see of what is in flight only their own. Their times follow the one number or the other.
   * @param ofRun all requests of the run, of which these are some
   * @param share how many of the requests of the run these are, from 0 to 1
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
    // The part of a time that the queue makes. Its root: what was seen of a short run is its calmer part.
    const part = Math.sqrt(Math.min(1, times / Math.max(inFlight, times)));
    const { kept, count } =
      run === null ? { kept: this.#kept, count: this.#count } : { kept: run.#kept, count: run.#count };
    return {
      // Of those that were kept: what was seen to return slowly may return more slowly still in a longer run.
      states: (this.#count * (kept / count)) / relaxation,
      samples: this.#count / (1 + SAFETY * part * (relaxation - 1)),
    };
  }

  #found(): Found {
    this.#cached ??= this.#ordered();
    return this.#cached;
  }

  #ordered(): Found {
    const order = [...Array(this.#kept).keys()].sort((a, b) => this.#pairs[2 * a]! - this.#pairs[2 * b]!);
    const instants = Float64Array.from(order, (at) => this.#pairs[2 * at]!);
    const durations = Float64Array.from(order, (at) => this.#pairs[2 * at + 1]!);
    const inFlight = inFlightAt(instants, durations);
    const likeness = Math.min(ALWAYS_ALIKE, Math.max(0, likenessAt(1, inFlight)));
    return { instants, durations, inFlight, likeness };
  }
}

/** Requests in the order of their instants, and how many each one found in flight. */
interface Found {
  readonly instants: Float64Array;
  readonly durations: Float64Array;
  readonly inFlight: Float64Array;
  /** Of the number in flight, from one request to the next. */
  readonly likeness: number;
}

/** Whether times follow the number in flight of the whole run, and not that of their own requests. */
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

/** How many requests each one finds in flight. */
function inFlightAt(instants: Float64Array, durations: Float64Array): Float64Array {
  const ends = Float64Array.from(instants, (instant, at) => instant + durations[at]!).sort();
  let ended = 0;
  return Float64Array.from(instants, (instant, at) => {
    while (ended < at && ends[ended]! <= instant) ended += 1;
    return at - ended;
  });
}

function ranksOf(values: Float64Array): Float64Array {
  const sorted = Float64Array.from(values).sort();
  const firstAt = new Map<number, number>();
  for (const [at, value] of sorted.entries()) if (!firstAt.has(value)) firstAt.set(value, at);
  return values.map((value) => firstAt.get(value)!);
}

/** How alike near times are; null where that may be chance. */
function likenessOfTimes(times: Float64Array): number | null {
  const chance = 1 / Math.sqrt(times.length);
  const lags = Math.min(MOST_LAGS, Math.floor(times.length / 6));
  const likeness = Array.from({ length: lags }, (_, at) => likenessAt(at + 1, times));
  const next = likeness[0]!;
  if (next > CHANCE * chance) return next;
  const turns = likeness.findIndex((each) => each > CHANCE_OF_ANY * chance) + 1;
  if (turns > 0) {
    const inTurn = likenessAt(turns, withoutTurns(times, turns));
    // A few values less their own mean are unlike each other by chance.
    if (inTurn + turns / times.length > CHANCE * chance) return likeness[turns - 1]!;
  }
  const mean = likeness.reduce((sum, each) => sum + each, 0) / lags;
  return mean > (CHANCE_OF_MEAN * chance) / Math.sqrt(lags) ? mean : null;
}

/** Less the mean of every so manieth: kinds of requests that come in turn are alike without a queue. */
function withoutTurns(values: Float64Array, turns: number): Float64Array {
  const sums = new Float64Array(turns);
  for (const [at, value] of values.entries()) sums[at % turns]! += value;
  return values.map(
    (value, at) => value - sums[at % turns]! / Math.ceil((values.length - (at % turns)) / turns),
  );
}

/** Autocorrelation; 0 where nothing varies. */
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

/** Pearson's; 0 where one of both does not vary. */
function correlation(a: Float64Array, b: Float64Array): number {
  const [meanA, meanB] = [meanOf(a), meanOf(b)];
  let [together, aloneA, aloneB] = [0, 0, 0];
  for (let at = 0; at < a.length; at++) {
    const [ofA, ofB] = [a[at]! - meanA, b[at]! - meanB];
    together += ofA * ofB;
    aloneA += ofA ** 2;
    aloneB += ofB ** 2;
  }
  return aloneA === 0 || aloneB === 0 ? 0 : together / Math.sqrt(aloneA * aloneB);
}

function meanOf(values: Float64Array): number {
  return values.reduce((sum, each) => sum + each, 0) / values.length;
}
