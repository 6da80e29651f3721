import { type Histogram, nearestRank } from '../../core/histogram.ts';
import type { ServedKinds } from './mixed-queues.ts';
import { QueueSeries, type SeenQueue } from './queueing.ts';
import { PlanReplays } from './replays.ts';

/** Confidence of the floor, as in MLPerf's early stopping. */
const CONFIDENCE = 0.99;
/** The most requests that may be beyond the percentile. */
const ALLOWED_OVER = 1;

/**
 * The fewest samples that can prove a percentile. If the true share beyond the limit is exactly 1 − percentile, the
 * probability of at most one sample beyond it is at most 1 %. This is the early-stopping test of MLPerf LoadGen
 * (mlcommons/inference, early_stopping) with one request over: 64 for p90, 130 for p95, 662 for p99, 6,636 for p99.9.
 * Infinity for percentile 100, which no sample proves; 1 for percentile 0.
 */
export function sampleFloor(percent: number): number {
  const below = percent / 100;
  if (below >= 1) return Number.POSITIVE_INFINITY;
  if (below <= 0) return 1;
  let enough = ALLOWED_OVER + 1;
  while (chanceOfFewOver(below, enough) > 1 - CONFIDENCE) enough *= 2;
  let short = ALLOWED_OVER;
  while (enough - short > 1) {
    const middle = Math.floor((short + enough) / 2);
    if (chanceOfFewOver(below, middle) > 1 - CONFIDENCE) short = middle;
    else enough = middle;
  }
  return enough;
}

/** Probability that at most one of `count` samples is beyond the limit, if each is with probability 1 − `below`. */
function chanceOfFewOver(below: number, count: number): number {
  return below ** count + count * (1 - below) * below ** (count - 1);
}

/** When a run needs more slots than this, neighbours are joined in pairs. */
const MAX_SLOTS = 40;
const FIRST_SLOT_NS = 1e7;
/** Bins per doubling of a value. They are only used for shares that show clustering, never for percentiles. */
const BINS_PER_DOUBLING = 16;
const BINS = 47 * BINS_PER_DOUBLING + 1;
/** Slots are joined into about this many windows. Many short ones vary less by chance; long ones are less dependent. */
const WINDOW_COUNTS = [40, 20, 10, 5] as const;
/** Fewer windows do not show how they vary. */
const LEAST_WINDOWS = 4;
/** With fewer independent samples, their clustering is not known well enough. */
const LEAST_INDEPENDENT = 20;
/** Percentiles in the body of the latencies: a growing queue is visible there before it is in the tail. */
const BODY_PERCENTS = [50, 75, 90] as const;
/** Windows long enough to see a growing queue, but too short to mistake a slow drift for one. */
const BODY_WINDOW_COUNTS: readonly number[] = [40, 20];

/** The ends of a confidence interval, in the unit of the recorded values. */
export type Interval = readonly [low: number, high: number];

/** Confidence of printed intervals. */
const INTERVAL_CONFIDENCE = 0.95;
const ONE_SIDED = (1 + INTERVAL_CONFIDENCE) / 2;

/**
 * Times of a run by windows of equal length, in bounded memory. Answers of a queue depend on each other: slow ones come
 * in clusters. The variation of the share of slow answers between windows gives the number of independent samples (the
 * design effect, Kish, Survey Sampling). With that number, the order statistics of all values give bounds of a
 * percentile.
 */
export class WindowPercentiles {
  #slots: SlotCounts[] = [];
  readonly #originNs: number;
  #slotNs = FIRST_SLOT_NS;
  /** Null if values are not times of single requests. */
  readonly #queue: QueueSeries | null;
  readonly #ofRun: WindowPercentiles | null;
  #plan: Planned | null = null;

  /**
   * @param originNs start of the first window, on the clock of `record`
   * @param perRequest whether each value is the time of one request, from its instant on
   * @param ofRun the times of the whole run, if these are only a part of them
   */
  constructor(originNs = 0, perRequest = true, ofRun: WindowPercentiles | null = null) {
    this.#originNs = originNs;
    this.#ofRun = ofRun;
    this.#queue = perRequest ? new QueueSeries(ofRun === null) : null;
  }

  /**
   * Adds a value with its instant. Instants may come in any order.
   * @param kind what may decide how its request is served, and is the same in each replay of a plan
   */
  record(offsetNs: number, value: number, times = 1, kind = ''): void {
    const sinceNs = Math.max(0, offsetNs - this.#originNs);
    while (sinceNs >= this.#slotNs * MAX_SLOTS) this.#double();
    const at = Math.floor(sinceNs / this.#slotNs);
    while (this.#slots.length <= at) this.#slots.push(new SlotCounts());
    this.#slots[at]!.add(binOf(value), times);
    this.#queue?.record(sinceNs, value, kind);
  }

  /**
   * An upper bound of the true percentile with this confidence. If the plan is less even than chance, it is that of other
   * replays of the plan, because {@link upperBound} takes planned bursts for chance. If the plan is even, or no queue
   * explains the run, the greater one counts. Independent requests have the least bound.
   * @param most the most requests that count
   * @param infinite number of further values that are infinite
   */
  upper(percent: number, confidence: number, most: number, whole: Histogram, infinite = 0): number {
    const all = whole.count + infinite;
    const { own, body, queue } = this.independentSamples(percent, confidence, all);
    const samples = { own: Math.min(own, most), body: Math.min(body, most), queue };
    const byWindows = upperBound(percent, confidence, samples, whole, infinite);
    const { replays = null, decides = false } = this.#planned() ?? {};
    const over = mostBeyond(most, 1 - percent / 100, 1 - confidence);
    if (replays === null || over < 0 || whole.count === 0) return byWindows;
    const at = (each: number) => whole.percentile(each, infinite) ?? Number.POSITIVE_INFINITY;
    const ofFinite = Math.min(100, (percent * all) / whole.count);
    const ratio = replays.ratio(ofFinite, deviationsOf(replays, confidence));
    const byReplays = Math.max(at(100 * (1 - over / most)), at(percent) * ratio);
    return decides ? byReplays : Math.max(byWindows, byReplays);
  }

  /** The 95 % interval of a percentile of all values; null if the run is too short. */
  interval(percent: number, whole: Histogram): Interval | null {
    const byWindows = this.#windowInterval(percent, whole);
    const { replays = null, decides = false } = this.#planned() ?? {};
    if (replays === null || (byWindows === null && !decides)) return byWindows;
    const independent = orderInterval(percent, whole.count, whole);
    const observed = whole.percentile(percent);
    if (independent === null || observed === null) return null;
    const deviations = deviationsOf(replays, ONE_SIDED);
    const byReplays = [-deviations, deviations].map((each) => observed * replays.ratio(percent, each));
    const ends = [independent, byReplays, decides ? null : byWindows].filter((each) => each !== null);
    const low = Math.min(...ends.map((each) => each[0]!));
    const high = Math.max(...ends.map((each) => each[1]!));
    return low === 0 || high === Number.POSITIVE_INFINITY ? null : [low, high];
  }

  #windowInterval(percent: number, whole: Histogram): Interval | null {
    const samples = fewest(this.independentSamples(percent, ONE_SIDED, whole.count));
    return samples < LEAST_INDEPENDENT ? null : orderInterval(percent, samples, whole);
  }

  /**
   * An upper bound of the mean with this confidence, by the means of windows (batch means: Law, Simulation Modeling and
   * Analysis, chapter 9) with Student's t. The widest of all cuts counts, and that of the independent states of a
   * queue. If these are too few, it is the greatest value.
   */
  upperMean(confidence: number, whole: Histogram): number {
    const { mean, max, count } = whole;
    const seen = this.#seenQueue(this.#ofRun)?.samples ?? count;
    const samples = Math.floor(Math.min(seen, count));
    if (mean === null || max === null || samples < LEAST_INDEPENDENT) return max ?? Number.POSITIVE_INFINITY;
    const bins = new Float64Array(BINS);
    for (const slot of this.#slots) slot.addTo(bins);
    const [all, sum] = [sumOf(bins), valuesOf(bins)];
    const spread = Math.sqrt(valuesOf(bins, (value) => (value - sum / all) ** 2) / all);
    const sums = this.#slots.map((slot) => ({ all: slot.from(0), over: slot.sum() }));
    const errors = WINDOW_COUNTS.map((most) => meanError(joined(sums, most), confidence));
    const t = studentT(confidence, Math.min(ALMOST_NORMAL, samples - 1));
    return mean + Math.max((t * spread) / Math.sqrt(samples), ...errors);
  }

  /**
   * How many independent samples this number of values is worth, for a percentile. It is divided by the largest design
   * effect at the percentile (`own`) and in the body of the distribution (`body`). In a short run, a queue limits it
   * further (`queue`).
   */
  independentSamples(percent: number, confidence: number, values: number): IndependentSamples {
    const counts = this.#countsOver(percent);
    const body = BODY_PERCENTS.filter((each) => each < percent).flatMap((each) => {
      const bodyCounts = this.#countsOver(each);
      return BODY_WINDOW_COUNTS.map((most) => designEffect(joined(bodyCounts, most)));
    });
    return {
      own: Math.floor(values / largestEffect(counts, confidence)),
      body: Math.floor(values / Math.max(1, ...body)),
      queue: this.#seenQueue(this.#ofRun),
    };
  }

  /**
   * Other replays of the plan. Null if there are too few or too many requests, or they are only a part of a run. Null
   * too if the plan is even and no request waited for another.
   */
  #planned(): Planned | null {
    const served = this.#ofRun === null ? (this.#queue?.whole ?? null) : null;
    const requests = served?.arrivals.length ?? 0;
    if (served === null || requests < LEAST_INDEPENDENT) return null;
    if (this.#plan?.served !== served) {
      const uneven = isUneven(served.arrivals);
      const isQueue = (this.#seenQueue(null)?.samples ?? requests) < requests;
      const replays = uneven || isQueue ? new PlanReplays(served) : null;
      this.#plan = { served, replays, decides: uneven && replays?.explainRun === true };
    }
    return this.#plan;
  }

  #seenQueue(run: WindowPercentiles | null): SeenQueue | null {
    const seen = run === null ? this.#queue?.seen() : this.#queue?.seen(run.#queue, this.#shareOf(run));
    return seen ?? null;
  }

  /** These values as a share of the run's values, over the time that these values cover. */
  #shareOf(run: WindowPercentiles): number {
    const met = this.#slots.flatMap((slot, at) =>
      slot.from(0) > 0 ? [Math.floor((at * this.#slotNs) / run.#slotNs)] : [],
    );
    const own = this.#slots.reduce((sum, slot) => sum + slot.from(0), 0);
    const all = [...new Set(met)].reduce((sum, at) => sum + (run.#slots[at]?.from(0) ?? 0), 0);
    return Math.min(1, own / Math.max(1, all));
  }

  /**
   * For each slot: its number of values, and how many of them are in the bin of a percentile of all values or above.
   */
  #countsOver(percent: number): WindowCount[] {
    const bins = new Float64Array(BINS);
    for (const slot of this.#slots) slot.addTo(bins);
    const rank = nearestRank(percent, sumOf(bins));
    let seen = 0;
    const edge = bins.findIndex((count) => {
      seen += count;
      return seen >= rank;
    });
    return this.#slots.map((slot) => ({ all: slot.from(0), over: slot.from(Math.max(0, edge)) }));
  }

  #double(): void {
    const slots: SlotCounts[] = [];
    for (let at = 0; at < this.#slots.length; at += 2) {
      const slot = this.#slots[at]!;
      this.#slots[at + 1]?.addTo(slot);
      slots.push(slot);
    }
    this.#slots = slots;
    this.#slotNs *= 2;
  }
}

/** Replays of the plan of a run. */
interface Planned {
  readonly served: ServedKinds;
  readonly replays: PlanReplays | null;
  /** Whether they decide without the windows. */
  readonly decides: boolean;
}

/** The interval of a percentile by the order statistics of this many independent samples; null for too few. */
function orderInterval(percent: number, samples: number, whole: Histogram): Interval | null {
  const over = mostBeyond(samples, 1 - percent / 100, 1 - ONE_SIDED);
  const under = mostBeyond(samples, percent / 100, 1 - ONE_SIDED);
  if (over < 0 || under < 1) return null;
  const [low, high] = [under, samples - over].map((rank) => whole.percentile((100 * rank) / samples));
  return low == null || high == null ? null : [low, high];
}

/** A quarter of the error that the confidence leaves is for the replays. The rest is for their model, from the same run. */
function deviationsOf({ count }: PlanReplays, confidence: number): number {
  return studentT((3 + confidence) / 4, count - 1);
}

/** Once in a hundred times by chance, arrivals at a constant mean rate vary more than this between windows. */
const UNEVEN = 0.99;

/** Whether the rate of arrivals changes more than chance explains. */
function isUneven(arrivals: Float64Array): boolean {
  const first = arrivals[0]!;
  const length = arrivals.at(-1)! - first;
  return WINDOW_COUNTS.some((windows) => {
    const counts = new Float64Array(windows);
    for (const arrival of arrivals)
      counts[Math.min(windows - 1, Math.floor(((arrival - first) / length) * windows))]! += 1;
    const mean = arrivals.length / windows;
    const dispersion = counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / (windows - 1) / mean;
    return dispersion > chanceEffect(windows, UNEVEN);
  });
}

/** Counts by bin, only for the range of used bins, because times of a run differ by only a few doublings. */
class SlotCounts {
  #first = 0;
  #counts = new Uint32Array(0);

  add(bin: number, times: number): void {
    const at = bin - this.#first;
    if (at < 0 || at >= this.#counts.length) this.#widen(bin);
    this.#counts[bin - this.#first]! += times;
  }

  addTo(sums: Float64Array | SlotCounts): void {
    for (const [at, count] of this.#counts.entries()) {
      if (count === 0) continue;
      if (sums instanceof SlotCounts) sums.add(this.#first + at, count);
      else sums[this.#first + at]! += count;
    }
  }

  /** How many values are in this bin or above. */
  from(bin: number): number {
    return sumOf(this.#counts.subarray(Math.max(0, bin - this.#first)));
  }

  /** The sum of the values, each as its bin. */
  sum(): number {
    return valuesOf(this.#counts, (value) => value, this.#first);
  }

  #widen(bin: number): void {
    const isEmpty = this.#counts.length === 0;
    const lowest = Math.floor(bin / BINS_AT_ONCE) * BINS_AT_ONCE;
    const first = isEmpty ? lowest : Math.min(this.#first, lowest);
    const end = Math.max(isEmpty ? 0 : this.#first + this.#counts.length, lowest + BINS_AT_ONCE);
    const counts = new Uint32Array(end - first);
    if (!isEmpty) counts.set(this.#counts, this.#first - first);
    this.#first = first;
    this.#counts = counts;
  }
}

const BINS_AT_ONCE = BINS_PER_DOUBLING / 2;

function binOf(value: number): number {
  return Math.min(BINS - 1, Math.floor(Math.log2(Math.max(1, value)) * BINS_PER_DOUBLING));
}

/** The sum over all values of a function of them, each value as the middle of its bin. */
function valuesOf(counts: Uint32Array | Float64Array, of = (value: number) => value, first = 0): number {
  let sum = 0;
  for (let at = 0; at < counts.length; at++) {
    if (counts[at]! > 0) sum += counts[at]! * of(2 ** ((first + at + 0.5) / BINS_PER_DOUBLING));
  }
  return sum;
}

function sumOf(values: Uint32Array | Float64Array): number {
  let sum = 0;
  for (let at = 0; at < values.length; at++) sum += values[at]!;
  return sum;
}

/** Values of a window, and how many of them are slow or failed. */
interface WindowCount {
  readonly all: number;
  readonly over: number;
}

/** The largest design effect over all cuts of the run, at least 1, with the uncertainty of few windows. */
function largestEffect(counts: readonly WindowCount[], confidence: number): number {
  const effects = WINDOW_COUNTS.map((most) => {
    const windows = joined(counts, most);
    const effect = designEffect(windows);
    return effect <= chanceEffect(windows.length)
      ? effect
      : effect * smallSampleFactor(confidence, windows.length);
  });
  return Math.max(1, ...effects);
}

/**
 * Requests of a run by windows of equal length, and how many of them count for a share, for its design effect (Kish,
 * Survey Sampling): failures of one restart come together.
 */
export class WindowShare {
  #slots: { all: number; over: number }[] = [];
  #slotNs = FIRST_SLOT_NS;
  readonly #originNs: number;

  constructor(originNs = 0) {
    this.#originNs = originNs;
  }

  record(offsetNs: number, isOver: boolean): void {
    const sinceNs = Math.max(0, offsetNs - this.#originNs);
    while (sinceNs >= this.#slotNs * MAX_SLOTS) {
      const slots = this.#slots;
      this.#slots = [];
      this.#slotNs *= 2;
      for (const [at, { all, over }] of slots.entries()) this.#add(Math.floor(at / 2), all, over);
    }
    this.#add(Math.floor(sinceNs / this.#slotNs), 1, isOver ? 1 : 0);
  }

  /** How many independent requests this number of them is worth. */
  independentSamples(confidence: number, requests: number): number {
    return Math.floor(requests / largestEffect(this.#slots, confidence));
  }

  #add(at: number, all: number, over: number): void {
    while (this.#slots.length <= at) this.#slots.push({ all: 0, over: 0 });
    this.#slots[at]!.all += all;
    this.#slots[at]!.over += over;
  }
}

/** Joins neighbouring slots into at most this many windows. The rest at the end joins the last window. */
function joined(slots: readonly WindowCount[], most: number): WindowCount[] {
  const length = Math.ceil(slots.length / most);
  const windows = Array.from({ length: Math.floor(slots.length / length) }, () => ({ all: 0, over: 0 }));
  for (const [at, { all, over }] of slots.entries()) {
    const window = windows[Math.min(windows.length - 1, Math.floor(at / length))]!;
    window.all += all;
    window.over += over;
  }
  return windows;
}

/**
 * Variance of the share of slow values over windows, divided by the variance of independent values. 1 if nothing
 * varies.
 */
function designEffect(windows: readonly WindowCount[]): number {
  const total = windows.reduce((sum, { all }) => sum + all, 0);
  const share = windows.reduce((sum, { over }) => sum + over, 0) / total;
  if (windows.length < LEAST_WINDOWS || !(share > 0 && share < 1)) return 1;
  const squares = windows.reduce((sum, { all, over }) => sum + (over - share * all) ** 2, 0);
  return (squares * windows.length) / (windows.length - 1) / (total * share * (1 - share));
}

/**
 * How far a mean may be off with this confidence, by the means of windows: the variance of a ratio, because windows
 * have different numbers of values. `over` is the sum of the values here. 0 for too few windows.
 */
function meanError(windows: readonly WindowCount[], confidence: number): number {
  if (windows.length < LEAST_WINDOWS) return 0;
  const total = windows.reduce((sum, { all }) => sum + all, 0);
  const mean = windows.reduce((sum, { over }) => sum + over, 0) / total;
  const squares = windows.reduce((sum, { all, over }) => sum + (over - mean * all) ** 2, 0);
  const error = Math.sqrt((squares * windows.length) / (windows.length - 1)) / total;
  return studentT(confidence, windows.length - 1) * error;
}

/** The design effect that independent values do not exceed with this probability: chi-squared by Wilson and Hilferty. */
function chanceEffect(windows: number, probability = 0.95): number {
  const spread = 2 / (9 * Math.max(1, windows - 1));
  return (1 - spread + studentT(probability, ALMOST_NORMAL) * Math.sqrt(spread)) ** 3;
}

/** Increases a design effect from few windows, as Student's t is wider than the normal distribution. */
function smallSampleFactor(confidence: number, windows: number): number {
  // At least the printed confidence, even for one-sided bounds: a run that is calm by chance also varies least.
  const sure = Math.max(confidence, ONE_SIDED);
  return (studentT(sure, windows - 1) / studentT(sure, ALMOST_NORMAL)) ** 2;
}

const ALMOST_NORMAL = 1_000;

/** If a run saw fewer states of a queue, the queue may have any length at another time. */
const LEAST_STATES = 35;

/**
 * An upper bound of the true percentile with this confidence. With enough independent samples, it comes from the order
 * statistics, without an assumption about the distribution. With too few, there are three cases:
 * - Only slow answers come in clusters, as after a stall: the bound is the greatest value.
 * - The body of the distribution clusters too: the greatest value bounds a lower percentile. From there the tail is
 *   extended as exponential, like that of a queue (Asmussen, Applied Probability and Queues, chapter XIII).
 * - The run saw few states of its queue, or the queue is unknown: the greatest value is multiplied by the ratio of slow
 *   to fast answers.
 * @param infinite number of further values that are infinite
 */
export function upperBound(
  percent: number,
  confidence: number,
  samples: IndependentSamples,
  whole: Histogram,
  infinite = 0,
): number {
  const least = leastSamples(percent, confidence);
  const independent = fewest(samples);
  if (independent >= Math.max(least, LEAST_INDEPENDENT)) {
    const over = mostBeyond(independent, 1 - percent / 100, 1 - confidence);
    return whole.percentile(100 * (1 - over / independent), infinite) ?? Number.POSITIVE_INFINITY;
  }
  const max = whole.percentile(100, infinite) ?? Number.POSITIVE_INFINITY;
  const { body, queue } = samples;
  if (Math.min(body, queue?.samples ?? body) >= Math.max(least, LEAST_INDEPENDENT)) return max;
  if (queue !== null && queue.states >= LEAST_STATES) {
    return max + (max - (whole.percentile(50) ?? max)) * tailLength(percent, confidence, independent);
  }
  return max * slowToFast(percent, whole);
}

/**
 * A lower bound of the true percentile with this confidence, by the order statistics of the values (an exact binomial
 * test). Null if there are too few independent samples.
 * @param infinite number of further values that are infinite
 */
export function lowerBound(
  percent: number,
  confidence: number,
  samples: number,
  whole: Histogram,
  infinite = 0,
): number | null {
  const under = mostBeyond(samples, percent / 100, 1 - confidence);
  return under < 0 ? null : whole.percentile((100 * (under + 1)) / samples, infinite);
}

/**
 * A lower bound of a percentile with too few independent samples for {@link lowerBound}: the observed percentile,
 * divided by the ratio of slow to fast answers, as {@link upperBound} multiplies. It is a rule, not a
 * theorem: of drawn queues at load 0.95, 5 % within the limit, up to 7 % are below it.
 * @param infinite number of further values that are infinite
 */
export function leastOfFew(percent: number, whole: Histogram, infinite = 0): number {
  return (whole.percentile(percent, infinite) ?? Number.POSITIVE_INFINITY) / slowToFast(percent, whole);
}

function slowToFast(percent: number, whole: Histogram): number {
  const slow = whole.percentile(BODY_PERCENTS.findLast((each) => each < percent) ?? percent) ?? 1;
  const fast = whole.percentile(FAST_PERCENT) ?? 1;
  return Math.max(1, slow) / Math.max(1, fast);
}

/**
 * Distance from the greatest sample to a percentile, for an exponential tail, as a multiple of the distance from the
 * median to the greatest sample.
 */
function tailLength(percent: number, confidence: number, samples: number): number {
  const most = Math.max(LEAST_FOR_TAIL, samples);
  const bounded = (1 - confidence) ** (1 / most);
  return Math.max(0, Math.log((1 - bounded) / (1 - percent / 100))) / Math.log(most / 2);
}

const LEAST_FOR_TAIL = 5;

/** The percentile that stands for fast answers. */
const FAST_PERCENT = 5;

/** How many independent samples the values are worth, at a percentile and in the body of their distribution. */
export interface IndependentSamples {
  readonly own: number;
  readonly body: number;
  /** Null if it is unknown whether there was a queue. */
  readonly queue: SeenQueue | null;
}

export function fewest({ own, body, queue }: IndependentSamples): number {
  return Math.floor(Math.min(own, body, queue?.samples ?? Number.POSITIVE_INFINITY));
}

/** The fewest samples whose maximum is above a percentile with this confidence. */
function leastSamples(percent: number, confidence: number): number {
  return Math.ceil(Math.log(1 - confidence) / Math.log(percent / 100));
}

/**
 * A lower bound of a true share with this confidence, if `share` of this many independent samples have the property
 * (Clopper and Pearson).
 */
export function lowerShare(share: number, confidence: number, samples: number): number {
  const without = Math.ceil((1 - share) * samples - 1e-9);
  // Both sums are equivalent. That with fewer terms is used, because a million samples would take seconds.
  const isUnder = (middle: number) =>
    share < 0.5
      ? mostBeyond(samples, middle, confidence) < samples - without - 1
      : mostBeyond(samples, 1 - middle, 1 - confidence) >= without;
  let [low, high] = [0, share];
  for (let step = 0; step < 40; step++) {
    const middle = (low + high) / 2;
    if (isUnder(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * About how many independent samples are needed to show that a percentile is below a limit, if the share `over` of all
 * values exceeds the limit. Infinity if too many do.
 */
export function samplesNeeded(percent: number, confidence: number, over: number): number {
  const share = 1 - percent / 100;
  if (over >= share) return Number.POSITIVE_INFINITY;
  const normal = (studentT(confidence, ALMOST_NORMAL) / (share - over)) ** 2 * share * (1 - share);
  return Math.max(LEAST_INDEPENDENT, leastSamples(percent, confidence), normal);
}

/**
 * The largest n for which at most n of `samples` are beyond with probability at most `chance`, if each is with `share`.
 */
function mostBeyond(samples: number, share: number, chance: number): number {
  let logTerm = samples * Math.log1p(-share);
  let sum = 0;
  for (let beyond = 0; beyond <= samples; beyond++) {
    sum += Math.exp(logTerm);
    if (sum > chance) return beyond - 1;
    logTerm += Math.log(((samples - beyond) / (beyond + 1)) * (share / (1 - share)));
  }
  return samples;
}

/**
 * A quantile of Student's t. The distribution function is the finite sum for whole degrees of freedom (Abramowitz and
 * Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4).
 * @param probability above 0.5 and below 1
 * @param freedom degrees of freedom, 1 or more
 */
export function studentT(probability: number, freedom: number): number {
  let low = 0;
  let high = 1;
  while (below(high, freedom) < probability) high *= 2;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (below(middle, freedom) < probability) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

function below(t: number, freedom: number): number {
  return (1 + within(t, freedom)) / 2;
}

/** Probability of a value between −t and t. */
function within(t: number, freedom: number): number {
  const angle = Math.atan(t / Math.sqrt(freedom));
  const cosine = Math.cos(angle);
  const isOdd = freedom % 2 === 1;
  if (freedom === 1) return (2 / Math.PI) * angle;
  let term = isOdd ? cosine : 1;
  let sum = term;
  for (let at = isOdd ? 3 : 2; at < freedom - 1; at += 2) {
    term *= ((at - 1) / at) * cosine * cosine;
    sum += term;
  }
  const scaled = Math.sin(angle) * sum;
  return isOdd ? (2 / Math.PI) * (angle + scaled) : scaled;
}
