import { type Histogram, nearestRank } from '../../core/histogram.ts';
import { SeededRandom } from '../../core/random.ts';
import {
  type Interval,
  orderLower,
  orderUpper,
  type RunValues,
  studentT,
  type Values,
} from './percentiles.ts';
import { countBelow, type Served, type Server, serve, serverOf } from './queues.ts';

/** Only this many first requests are used. They are taken as typical of a longer run. */
const MOST_KEPT = 8_192;
/** Fewer requests do not show how a server works. */
const LEAST_KEPT = 11;
/** How often the plan is served again. */
const REPLAYS = 40;
/** Neighbours are drawn together, so that requests of one batch or of one slow moment stay together. */
const BLOCK = 40;
/** Assumed slowdowns of the server. If the last one is not enough, the run shows no bound. */
const SLOWDOWNS = [1.05, 1.12, 1.25, 1.5, 2, 3, 6, 12, 25, 50, 100] as const;
const WINDOWS = 32;
/** Windows are joined into this many. */
const CUTS = [32, 16, 8] as const;
/** Percentiles in the body of the times: what the model misses is visible there before it is in the tail. */
const BODY_PERCENTS = [50, 90] as const;
/** Chance exceeds a mean by this many standard deviations once in forty times. */
const CHANCE = 2;

/** Answers that end within this share of a typical time end together. */
const TOGETHER = 0.01;
/** Confidence of each end of a printed interval. It is more than 97.5 %, because the spread is estimated itself. */
const ONE_END = 0.98;

/** A percentile, or the mean. */
type Statistic = number | 'mean';

/**
 * Times of requests, and how much their percentiles vary between replays of the same plan. Arrivals are the same in
 * every replay, and only the server is random. So the server is modelled from the run, and serves the plan again many
 * times, with works drawn in blocks from the run: a bootstrap conditional on the arrivals (Efron and Tibshirani, An
 * Introduction to the Bootstrap, chapters 8 and 14). Planned bursts come again in every replay, so they are not taken
 * for chance.
 *
 * The model gives only ratios: how much slower the server could be, if a replay as fast as this run is as improbable as
 * the confidence says.
 */
export class PlanBootstrap implements RunValues {
  #arrivals = new Float64Array(64);
  #latencies = new Float32Array(64);
  #kept = 0;
  readonly #ofRun: PlanBootstrap | null;
  #model: { readonly served: Served; readonly server: Server } | null = null;
  readonly #replays = new Map<number, readonly Float64Array[]>();
  #views: readonly Replayed[] | null = null;
  #blocks: readonly (readonly number[])[] | null = null;

  /** @param ofRun all requests of the run, if these are only a part of them and may share the server with the others */
  constructor(ofRun: PlanBootstrap | null = null) {
    this.#ofRun = ofRun;
  }

  record(offsetNs: number, latencyNs: number): void {
    if (this.#kept === MOST_KEPT) return;
    if (this.#kept === this.#arrivals.length) {
      const [arrivals, latencies] = [this.#arrivals, this.#latencies];
      this.#arrivals = new Float64Array(2 * this.#kept);
      this.#latencies = new Float32Array(2 * this.#kept);
      this.#arrivals.set(arrivals);
      this.#latencies.set(latencies);
    }
    this.#arrivals[this.#kept] = offsetNs;
    this.#latencies[this.#kept] = Math.max(1, latencyNs);
    this.#kept += 1;
    this.#model = null;
    this.#replays.clear();
    this.#views = null;
    this.#blocks = null;
  }

  interval(percent: number, whole: Histogram): Interval | null {
    const values = { whole, infinite: 0, most: whole.count };
    const high = this.upper(percent, ONE_END, values);
    const low = this.lower(percent, ONE_END, values);
    return low === 0 || high === Number.POSITIVE_INFINITY ? null : [low, high];
  }

  /** The greater one of the bound by replays and that by order statistics, which needs no model of the server. */
  upper(percent: number, confidence: number, { whole, infinite, most }: Values): number {
    const ordered = orderUpper(percent, confidence, most, whole, infinite);
    const observed = whole.percentile(percent, infinite);
    if (observed === null || ordered === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    const share = finitePercent(percent, whole, infinite);
    return Math.max(ordered, Math.max(1, observed) * this.#ratio(share, confidence, true));
  }

  lower(percent: number, confidence: number, { whole, infinite, most }: Values): number {
    const ordered = orderLower(percent, confidence, most, whole, infinite);
    const observed = whole.percentile(percent, infinite);
    if (observed === null || observed === Number.POSITIVE_INFINITY) return ordered;
    const share = finitePercent(percent, whole, infinite);
    return Math.min(ordered, observed * this.#ratio(share, confidence, false));
  }

  upperMean(confidence: number, whole: Histogram): number {
    return whole.mean === null
      ? Number.POSITIVE_INFINITY
      : whole.mean * this.#ratio('mean', confidence, true);
  }

  worth(percent: number, _confidence: number, values: number): number {
    if (this.#kept < LEAST_KEPT) return 0;
    return Math.floor(values * Math.min(1, ...this.#replayed().map((each) => each.worth(percent))));
  }

  /** The bound of a statistic as a multiple of its observed value. The widest counts. */
  #ratio(statistic: Statistic, confidence: number, isUpper: boolean): number {
    if (this.#kept < LEAST_KEPT) return isUpper ? Number.POSITIVE_INFINITY : 0;
    const ratios = this.#replayed().map((each) => each.ratio(statistic, confidence, isUpper));
    return isUpper ? Math.max(...ratios) : Math.min(...ratios);
  }

  /** These requests at a server of their own, and at one that they share with the run. */
  #replayed(): readonly Replayed[] {
    this.#views ??= this.#viewed();
    return this.#views;
  }

  #viewed(): Replayed[] {
    const { served } = this.#modelled();
    const own = new Replayed(served, (slowdown) => this.#replaysOf(slowdown));
    const run = this.#ofRun;
    if (run === null) return [own];
    const places = placesIn(run.#modelled().served, served);
    if (places.length < LEAST_KEPT) return [own];
    const all = run.#modelled();
    const part = (values: Float64Array) => Float64Array.from(places, (at) => values[at]!);
    const works = part(all.server.works);
    const random = new SeededRandom(2);
    const draws = Array.from({ length: REPLAYS }, () => places.map(() => random.below(places.length)));
    // They wait as the replay has it, and take as long as one of these requests.
    const shared = new Replayed(
      { arrivals: part(all.served.arrivals), latencies: part(all.served.latencies) },
      (slowdown) =>
        run.#replaysOf(slowdown).map((latencies, replay) =>
          Float64Array.from(places, (at, nth) => {
            const work = Math.max(1, works[draws[replay]![nth]!]!) * slowdown;
            return Math.max(1, latencies[at]! - run.#drawn(replay, at) * slowdown) + work;
          }),
        ),
    );
    return [own, shared];
  }

  #modelled(): { readonly served: Served; readonly server: Server } {
    if (this.#model !== null) return this.#model;
    const [arrivals, latencies] = [this.#arrivals, this.#latencies];
    const order = [...Array(this.#kept).keys()].sort(
      (a, b) => arrivals[a]! - arrivals[b]! || latencies[a]! - latencies[b]!,
    );
    const served = {
      arrivals: Float64Array.from(order, (at) => arrivals[at]!),
      latencies: Float64Array.from(order, (at) => latencies[at]!),
    };
    this.#model = { served, server: serverOf(served) };
    return this.#model;
  }

  /** The work of a request in a replay. It is the same for each slowdown, so that they differ by nothing else. */
  #drawn(replay: number, at: number): number {
    const { works } = this.#modelled().server;
    this.#blocks ??= blocksOf(works.length);
    const from = this.#blocks[replay]![Math.floor(at / BLOCK)]!;
    return Math.max(1, works[(from + (at % BLOCK)) % works.length]!);
  }

  #replaysOf(slowdown: number): readonly Float64Array[] {
    const known = this.#replays.get(slowdown);
    if (known !== undefined) return known;
    const { served, server } = this.#modelled();
    const replays = Array.from({ length: REPLAYS }, (_, replay) =>
      serve(server, served.arrivals, (at) => this.#drawn(replay, at) * slowdown),
    );
    this.#replays.set(slowdown, replays);
    return replays;
  }
}

/** Where the blocks of each replay begin. */
function blocksOf(requests: number): number[][] {
  const random = new SeededRandom(1);
  const blocks = Math.ceil(requests / BLOCK);
  return Array.from({ length: REPLAYS }, () => Array.from({ length: blocks }, () => random.below(requests)));
}

/** The percentile among the finite values with the same rank. */
function finitePercent(percent: number, whole: Histogram, infinite: number): number {
  return Math.min(100, (percent * (whole.count + infinite)) / whole.count);
}

/** Where these requests are among those of the run. Both are in the order of arrival. */
function placesIn(run: Served, part: Served): number[] {
  const places: number[] = [];
  let next = 0;
  for (const [at, arrival] of run.arrivals.entries()) {
    while (next < part.arrivals.length && part.arrivals[next]! < arrival) next += 1;
    if (part.arrivals[next] !== arrival || part.latencies[next] !== run.latencies[at]) continue;
    places.push(at);
    next += 1;
  }
  return places;
}

/** Requests of a run, and their latencies in its replays. */
class Replayed {
  readonly #run: Served;
  readonly #of: (slowdown: number) => readonly Float64Array[];
  readonly #sorted = new Map<number, readonly Float64Array[]>();
  readonly #misfits = new Map<Statistic, number>();

  constructor(run: Served, of: (slowdown: number) => readonly Float64Array[]) {
    this.#run = run;
    this.#of = of;
  }

  /**
   * With the slowest server of which one replay in twenty (for 95 % confidence) is still as fast as the run: its
   * statistic, divided by that of the server as modelled. A lower bound has the fastest server instead.
   */
  ratio(statistic: Statistic, confidence: number, isUpper: boolean): number {
    const sign = isUpper ? 1 : -1;
    const errors = studentT(confidence, REPLAYS - 1) * this.#misfit(statistic);
    const at = (slowdown: number) => {
      const replays = this.#sortedBy(slowdown);
      const logs = replays.map((sorted) => Math.log(valueAt(sorted, statistic)));
      const mean = meanOf(logs);
      const spread = Math.sqrt(logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (REPLAYS - 1));
      return { edge: mean - sign * errors * spread, value: Math.log(pooledAt(replays, statistic)) };
    };
    const own = at(1);
    let before = own;
    for (const slowdown of SLOWDOWNS) {
      const next = at(isUpper ? slowdown : 1 / slowdown);
      if (sign * (next.edge - own.value) >= 0) {
        const share = (own.value - before.edge) / (next.edge - before.edge);
        return Math.exp(before.value + share * (next.value - before.value) - own.value);
      }
      before = next;
    }
    return isUpper ? Number.POSITIVE_INFINITY : 0;
  }

  /**
   * How much of an independent sample each request is, for the share of slow ones: the variance of the share if
   * requests were independent, divided by that of the replays (the design effect, given the plan).
   */
  worth(percent: number): number {
    const replays = this.#sortedBy(1);
    const count = this.#run.arrivals.length;
    const level = pooledAt(replays, percent);
    const shares = replays.map((sorted) => 1 - countBelow(sorted, level * EXACT) / count);
    const mean = meanOf(shares);
    const variance = shares.reduce((sum, share) => sum + (share - mean) ** 2, 0) / (REPLAYS - 1);
    const independent = (mean * (1 - mean)) / count;
    const misfit = this.#misfit(percent) ** 2;
    // The variance of so few replays is itself random.
    const isChance = variance <= independent * (1 + CHANCE * Math.sqrt(2 / (REPLAYS - 1)));
    return isChance ? 1 / misfit : independent / (variance * misfit);
  }

  #sortedBy(slowdown: number): readonly Float64Array[] {
    const known = this.#sorted.get(slowdown);
    if (known !== undefined) return known;
    const sorted = this.#of(slowdown).map((latencies) => latencies.toSorted());
    this.#sorted.set(slowdown, sorted);
    return sorted;
  }

  /**
   * How much more the slow answers of the run vary between windows than those of a replay, around what the plan leads
   * to expect, or how many more answers end together. If it is over 1, the model misses something, for example stalls,
   * batches or several queues. Then the spread of the replays is increased by it.
   */
  #misfit(statistic: Statistic): number {
    const known = this.#misfits.get(statistic) ?? this.#misfitOf(statistic);
    this.#misfits.set(statistic, known);
    return known;
  }

  #misfitOf(statistic: Statistic): number {
    const { arrivals, latencies } = this.#run;
    const first = arrivals[0]!;
    const length = Math.max(1, arrivals.at(-1)! - first) / WINDOWS;
    const windows = arrivals.map((arrival) => Math.min(WINDOWS - 1, Math.floor((arrival - first) / length)));
    const own = typeof statistic === 'number' ? [statistic] : [];
    const body = BODY_PERCENTS.filter((each) => own.every((percent) => each < percent));
    const ascending = latencies.toSorted();
    const excesses = [...body, ...own].flatMap((percent) => {
      const run = countsOver(latencies, windows, valueAt(ascending, percent));
      const replays = this.#of(1).map((each, at) =>
        countsOver(each, windows, valueAt(this.#sortedBy(1)[at]!, percent)),
      );
      return CUTS.map((cut) => excessOf(run, replays, WINDOWS / cut));
    });
    const together =
      groupOf(this.#run) / meanOf(this.#of(1).map((each) => groupOf({ arrivals, latencies: each })));
    return Math.sqrt(Math.max(1, together, ...excesses));
  }
}

/** The statistic of values in ascending order. */
function valueAt(sorted: Float64Array, statistic: Statistic): number {
  return statistic === 'mean' ? meanOf(sorted) : sorted[nearestRank(statistic, sorted.length) - 1]!;
}

/** The statistic of the values of all replays together. */
function pooledAt(replays: readonly Float64Array[], statistic: Statistic): number {
  if (statistic === 'mean') return meanOf(replays.map(meanOf));
  const values = replays.map((sorted) => valueAt(sorted, statistic));
  const rank = nearestRank(statistic, replays.length * replays[0]!.length);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  while (high > low * EXACT) {
    const middle = Math.sqrt(low * high);
    if (replays.reduce((sum, sorted) => sum + countBelow(sorted, middle), 0) < rank) low = middle;
    else high = middle;
  }
  return high;
}

/** No bound depends on less. */
const EXACT = 1.0005;

/** How many answers end together, on average. */
function groupOf({ arrivals, latencies }: Served): number {
  const near = TOGETHER * valueAt(latencies.toSorted(), 50);
  const ends = arrivals.map((arrival, at) => arrival + latencies[at]!).sort();
  let groups = 1;
  for (let at = 1; at < ends.length; at++) if (ends[at]! - ends[at - 1]! > near) groups += 1;
  return ends.length / groups;
}

/** How many values are over a level, in each window. */
function countsOver(values: Float64Array, windows: Float64Array, level: number): Float64Array {
  const counts = new Float64Array(WINDOWS);
  for (let at = 0; at < values.length; at++) if (values[at]! > level * EXACT) counts[windows[at]!]! += 1;
  return counts;
}

/** Variation of counts around the mean of the replays, divided by that of a replay; 1 if it may be chance. */
function excessOf(run: Float64Array, replays: readonly Float64Array[], joined: number): number {
  const expected = run.map((_, at) => meanOf(replays.map((replay) => replay[at]!)));
  const variation = (counts: Float64Array) => {
    let sum = 0;
    for (let from = 0; from < WINDOWS; from += joined) {
      let difference = 0;
      for (let at = from; at < from + joined; at++) difference += counts[at]! - expected[at]!;
      sum += difference ** 2;
    }
    return sum;
  };
  const variations = replays.map(variation);
  const mean = meanOf(variations);
  const spread = Math.sqrt(meanOf(variations.map((each) => (each - mean) ** 2)));
  const seen = variation(run);
  return seen <= mean + CHANCE * spread ? 1 : seen / mean;
}

function meanOf(values: Float64Array | readonly number[]): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}
