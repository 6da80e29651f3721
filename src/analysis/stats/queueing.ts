/** So many requests are kept. A longer run has windows enough to see how its answers depend on each other. */
const MOST_KEPT = 4_096;
/** Fewer requests show no queue: chance alone makes neighbours alike. */
const LEAST_KEPT = 20;
/** Independent neighbours are alike by more than this over √n once in twenty times. */
const CHANCE = 1.65;

const ALWAYS_ALIKE = 1 - 1e-9;
/** By drawn queues of 200 to 4,000 requests: without it a percentile 5 % over its limit passes in over 5 % of them. */
const SAFETY = 1.5;

/** What a short run tells of its queue. */
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
  /** Pairs of an instant and a time, both relative to the first instant's origin. */
  #pairs = new Float32Array(64);
  #count = 0;
  #isLong = false;

  record(offsetNs: number, durationNs: number): void {
    if (this.#isLong) return;
    if (this.#count === MOST_KEPT) {
      this.#isLong = true;
      this.#pairs = new Float32Array(0);
      return;
    }
    if (2 * this.#count === this.#pairs.length) {
      const pairs = new Float32Array(2 * this.#pairs.length);
      pairs.set(this.#pairs);
      this.#pairs = pairs;
    }
    this.#pairs[2 * this.#count] = offsetNs;
    this.#pairs[2 * this.#count + 1] = durationNs;
    this.#count += 1;
  }

  /** What a run tells of its queue; null for one of which too much, or too little, was recorded to say. */
  seen(): SeenQueue | null {
    if (this.#isLong || this.#count < LEAST_KEPT) return null;
    const order = [...Array(this.#count).keys()].sort((a, b) => this.#pairs[2 * a]! - this.#pairs[2 * b]!);
    const instants = Float64Array.from(order, (at) => this.#pairs[2 * at]!);
    const durations = Float64Array.from(order, (at) => this.#pairs[2 * at + 1]!);
    const times = likenessOfNeighbours(ranksOf(durations));
    if (times <= CHANCE / Math.sqrt(this.#count)) return NO_QUEUE;
    const inFlight = Math.min(
      ALWAYS_ALIKE,
      Math.max(0, likenessOfNeighbours(inFlightAt(instants, durations))),
    );
    const relaxation = (1 + inFlight) / (1 - inFlight);
    // The part of a time that the queue makes. Its root: what was seen of a short run is its calmer part.
    const share = Math.sqrt(Math.min(1, times / Math.max(inFlight, times)));
    return {
      states: this.#count / relaxation,
      samples: this.#count / (1 + SAFETY * share * (relaxation - 1)),
    };
  }
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

/** Autocorrelation at lag 1; 0 where nothing varies. */
function likenessOfNeighbours(values: Float64Array): number {
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  let [together, alone] = [0, 0];
  for (let at = 0; at < values.length; at++) {
    const difference = values[at]! - mean;
    alone += difference ** 2;
    if (at > 0) together += difference * (values[at - 1]! - mean);
  }
  return alone === 0 ? 0 : together / alone;
}
