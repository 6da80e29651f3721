import { SeededRandom } from '../../src/core/random.ts';

/**
 * A queue with executors on a virtual clock: no real time passes, and a seed decides everything. All times are in
 * seconds and can be scaled.
 */

/** Draws service times with a mean of 1. */
export type ServiceTime = (random: () => number) => number;

/** Service times from almost constant to heavy-tailed, each with a mean of 1. */
export const SERVICE_TIMES = {
  /** Lognormal, sigma 0.2: a model with inputs of one size. */
  steady: (random) => Math.exp(0.2 * normal(random) - 0.02),
  /** Exponential: CV 1. */
  exponential: (random) => -Math.log(random()),
  /** Lognormal, sigma 1: CV 1.3. */
  skewed: (random) => Math.exp(normal(random) - 0.5),
  /** Pareto with exponent 2.2: one in a thousand takes twelve times the mean and more. */
  heavy: (random) => random() ** (-1 / 2.2) * (1.2 / 2.2),
} as const satisfies Record<string, ServiceTime>;
export type ServiceName = keyof typeof SERVICE_TIMES;

/** A seeded generator of numbers between 0 and 1 (both exclusive). */
export function uniform(seed: number): () => number {
  const random = new SeededRandom(seed);
  return () => (random.nextUint32() + 0.5) / 2 ** 32;
}

/** Instants of a Poisson process. */
export function poissonArrivals(count: number, ratePerSecond: number, random: () => number): Float64Array {
  let now = 0;
  return Float64Array.from({ length: count }, () => {
    now -= Math.log(random()) / ratePerSecond;
    return now;
  });
}

/** Latency of each arrival, first come first served by `executors`: waiting plus service. */
export function queueLatencies(
  arrivals: Float64Array,
  executors: number,
  serviceS: (index: number) => number,
): Float64Array {
  const freeAt = new Float64Array(executors);
  return arrivals.map((arrival, index) => {
    let first = 0;
    for (let at = 1; at < executors; at++) if (freeAt[at]! < freeAt[first]!) first = at;
    const end = Math.max(arrival, freeAt[first]!) + serviceS(index);
    freeAt[first] = end;
    return end - arrival;
  });
}

export interface QueuePairParts {
  readonly seed: number;
  readonly requests: number;
  readonly executors: number;
  /** Share of the executors' time that A is busy. */
  readonly load: number;
  readonly service: ServiceName;
  /** Factor of the service times of B. */
  readonly slowdown: number;
}

/** The same arrivals at two servers with independent service times. */
export function queuePair(parts: QueuePairParts): { readonly a: Float64Array; readonly b: Float64Array } {
  const { seed, requests, executors, load, service, slowdown } = parts;
  const draw = SERVICE_TIMES[service];
  const arrivals = poissonArrivals(requests, executors * load, uniform(seed * 3));
  const side = (sideSeed: number, factor: number) => {
    const random = uniform(sideSeed);
    return queueLatencies(arrivals, executors, () => draw(random) * factor);
  };
  return { a: side(seed * 3 + 1, 1), b: side(seed * 3 + 2, slowdown) };
}

/** How the factors of consecutive runs vary, each with this standard deviation. */
export type RunNoise = 'independent' | 'wandering' | 'drifting';

/**
 * Latency factors of runs in the order A, B, B, A: independent, or like the one before (correlation 0.8), or growing
 * from run to run by a tenth of that, with half of it at random.
 */
export function runFactors(
  runs: number,
  noise: RunNoise,
  share: number,
  seed: number,
): { readonly a: readonly number[]; readonly b: readonly number[] } {
  const random = uniform(seed);
  const [a, b]: [number[], number[]] = [[], []];
  let last = normal(random);
  for (let at = 0; at < 2 * runs; at++) {
    const fresh = normal(random);
    if (noise === 'wandering') last = 0.8 * last + 0.6 * fresh;
    const deviation = noise === 'independent' ? fresh : noise === 'drifting' ? 0.1 * at + 0.5 * fresh : last;
    (at % 4 === 0 || at % 4 === 3 ? a : b).push(Math.exp(share * deviation));
  }
  return { a, b };
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
}

/** Latencies with a slow variation over the whole run, like the load of a day. Use it for both sides. */
export function swinging(latencies: Float64Array, share: number): Float64Array {
  return latencies.map((each, at) => each * (1 + share * Math.sin((2 * Math.PI * at) / latencies.length)));
}
