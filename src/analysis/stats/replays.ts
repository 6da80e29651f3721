import { nearestRank } from '../../core/histogram.ts';
import { SeededRandom } from '../../core/random.ts';
import { type Part, queuesOf, type RunQueues, type ServedKinds, servePart } from './mixed-queues.ts';
import { countBelow } from './queues.ts';

/** How often the plan is served again: with more requests less often, because this takes time. */
const [MOST_REPLAYS, LEAST_REPLAYS] = [24, 8];
const MOST_SERVED = MOST_REPLAYS * 8_192;
/** Neighbours are drawn together, so that requests of one batch or of one slow moment stay together. */
const BLOCK = 20;
/** Factors of all works, slower and (inverted) faster. Bounds between them are interpolated. */
const FACTORS = [1, 1.04, 1.08, 1.15, 1.25, 1.4, 1.7, 2.2, 3, 5, 10] as const;
/** Works beyond this share are at least as long as those of a lognormal distribution. */
const BODY = 0.95;
/** 95 % of a normal distribution are below this. */
const NORMAL_AT_BODY = 1.645;
/** Twice the standard error of a lognormal distribution's sigma, by these quantiles, times √n: both are normal. */
const SIGMA_ERROR = 2 * 1.48;

/**
 * Other replays of the plan of a run. Arrivals are the same in each of them, and only the server is random: a bootstrap
 * conditional on the arrivals (Efron and Tibshirani, An Introduction to the Bootstrap, chapters 8 and 12). The server
 * is a queue that explains the run, and works are drawn from the run in blocks. So a planned burst comes again in every
 * replay, and does not widen a bound.
 *
 * A bound is a test, inverted. All works are made slower until a replay as fast as the run is improbable; the bound is
 * the percentile of all replays together at that speed. The run's own percentile decides, and not the model's.
 */
export class PlanReplays {
  readonly #observed: Float64Array;
  readonly #queues: RunQueues;
  /** For each replay: the works of the requests of each part. */
  readonly #draws: readonly (readonly Float64Array[])[];
  readonly #served = new Map<number, ServedAgain>();

  constructor(run: ServedKinds) {
    this.#observed = run.latencies.toSorted();
    this.#queues = queuesOf(run);
    const random = new SeededRandom(1);
    const requests = run.latencies.length;
    const replays = Math.max(LEAST_REPLAYS, Math.min(MOST_REPLAYS, Math.floor(MOST_SERVED / requests)));
    const parts = this.#queues.parts.map((part) => ({ part, works: worksByGroup(part) }));
    this.#draws = Array.from({ length: replays }, () =>
      parts.map(({ part, works }) => drawn(part, works, random)),
    );
  }

  get count(): number {
    return this.#draws.length;
  }

  /** Whether the works of the requests depend on nothing but chance. Otherwise the bounds are too narrow. */
  get explainRun(): boolean {
    return this.#queues.explainRun;
  }

  /**
   * The bound of a percentile, divided by the observed percentile.
   * @param deviations by how many standard deviations the run may have been faster (above 0) or slower (below) than
   *   other replays
   */
  ratio(percent: number, deviations: number): number {
    const observed = Math.log(atPercent(this.#observed, percent));
    const at = (factor: number) => {
      const served = this.#at(factor);
      const { mean, spread } = served.each(percent);
      return { edge: mean - deviations * spread, together: () => served.together(percent) };
    };
    let before = at(1);
    const isSlower = before.edge < observed;
    for (const factor of FACTORS.slice(1)) {
      const next = at(isSlower ? factor : 1 / factor);
      if (isSlower === next.edge >= observed) {
        const share = (observed - before.edge) / (next.edge - before.edge);
        const [one, other] = [before.together(), next.together()];
        return Math.exp(one + share * (other - one) - observed);
      }
      before = next;
    }
    if (isSlower === deviations > 0) return isSlower ? Number.POSITIVE_INFINITY : 0;
    return Math.exp(before.together() - observed);
  }

  /** The replays with all works multiplied by a factor. The draws are the same for each factor. */
  #at(factor: number): ServedAgain {
    const known = this.#served.get(factor);
    if (known !== undefined) return known;
    const { parts } = this.#queues;
    const replays = this.#draws.map((draws) =>
      together(parts.map((part, nth) => servePart(part, draws[nth]!, factor))).sort(),
    );
    const served = new ServedAgain(replays);
    this.#served.set(factor, served);
    return served;
  }
}

/** The works of each group of a part, with a tail. */
function worksByGroup({ works, groups }: Part): Float64Array[] {
  return groups.map((places) => withTail(Float64Array.from(places, (at) => works[at]!)));
}

/** Draws a work for each request of a part from those of its group, in blocks. */
function drawn(
  { arrivals, groups }: Part,
  works: readonly Float64Array[],
  random: SeededRandom,
): Float64Array {
  const draws = new Float64Array(arrivals.length);
  for (const [nth, places] of groups.entries()) {
    const count = places.length;
    let from = 0;
    for (const [within, at] of places.entries()) {
      if (within % BLOCK === 0) from = random.below(count);
      draws[at] = works[nth]![(from + (within % BLOCK)) % count]!;
    }
  }
  return draws;
}

function together(parts: readonly Float64Array[]): Float64Array {
  if (parts.length === 1) return parts[0]!;
  const all = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let from = 0;
  for (const part of parts) {
    all.set(part, from);
    from += part.length;
  }
  return all;
}

/** The latencies of replays, each in ascending order. */
class ServedAgain {
  readonly #replays: readonly Float64Array[];

  constructor(replays: readonly Float64Array[]) {
    this.#replays = replays;
  }

  /** The logarithm of a percentile: its mean and standard deviation over the replays. */
  each(percent: number): { readonly mean: number; readonly spread: number } {
    const logs = this.#replays.map((replay) => Math.log(atPercent(replay, percent)));
    const mean = logs.reduce((sum, log) => sum + log, 0) / logs.length;
    const squares = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0);
    return { mean, spread: Math.sqrt(squares / (logs.length - 1)) };
  }

  /** The logarithm of a percentile of all replays together. */
  together(percent: number): number {
    const count = this.#replays.reduce((sum, replay) => sum + replay.length, 0);
    return Math.log(Math.max(Number.MIN_VALUE, ofRank(this.#replays, nearestRank(percent, count))));
  }
}

/**
 * The value of a rank, from 1, in ascending arrays together. Halving the interval between the least and the greatest
 * value takes a hundredth of the time of sorting them.
 */
function ofRank(ascending: readonly Float64Array[], rank: number): number {
  let low = Math.min(...ascending.map((each) => each[0]!));
  let high = Math.max(...ascending.map((each) => each.at(-1)!));
  const countBelowAll = (level: number): number =>
    ascending.reduce((sum, each) => sum + countBelow(each, level), 0);
  for (;;) {
    const middle = low + (high - low) / 2;
    // No number is between them: `high` was never too low, and `low` may be the value itself.
    if (middle <= low || middle >= high) return countBelowAll(high) < rank ? high : low;
    if (countBelowAll(middle) < rank) low = middle;
    else high = middle;
  }
}

function atPercent(ascending: Float64Array, percent: number): number {
  return Math.max(Number.MIN_VALUE, ascending[nearestRank(percent, ascending.length) - 1]!);
}

/**
 * A short run has seen few of the longest works. So its longest ones are made at least as long as those of a lognormal
 * distribution through the median and the 95th percentile, with the error that these have in so few requests.
 */
function withTail(works: Float64Array): Float64Array {
  const count = works.length;
  const shortest = Math.max(Number.MIN_VALUE, 1e-9 * works.reduce((sum, work) => sum + Math.max(0, work), 0));
  const tailed = works.map((work) => Math.max(shortest, work));
  const order = [...tailed.keys()].sort((a, b) => tailed[a]! - tailed[b]!);
  const at = (share: number) => tailed[order[Math.ceil(share * count) - 1]!]!;
  const sigma = (Math.log(at(BODY) / at(0.5)) / NORMAL_AT_BODY) * (1 + SIGMA_ERROR / Math.sqrt(count));
  const median = at(0.5);
  for (let rank = Math.ceil(BODY * count); rank < count; rank++) {
    const normal = normalQuantile((rank + 0.5) / count);
    tailed[order[rank]!] = Math.max(tailed[order[rank]!]!, median * Math.exp(sigma * normal));
  }
  return tailed;
}

/** A quantile of the normal distribution, for probabilities above 0.5 (Abramowitz and Stegun, 26.2.23). */
export function normalQuantile(probability: number): number {
  const t = Math.sqrt(-2 * Math.log(1 - probability));
  return (
    t -
    (2.515517 + 0.802853 * t + 0.010328 * t ** 2) / (1 + 1.432788 * t + 0.189269 * t ** 2 + 0.001308 * t ** 3)
  );
}
