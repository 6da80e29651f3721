import { type Histogram, nearestRank } from '../../core/histogram.ts';
import { QueueSeries, type SeenQueue } from './queueing.ts';

/** How sure the floor is: MLPerf's early stopping tests at 99 %. */
const CONFIDENCE = 0.99;
/** The most requests that may be beyond the percentile. */
const ALLOWED_OVER = 1;

/**
 * The fewest samples from which a percentile may be called kept. If the true share beyond the limit is exactly
 * 1 − percentile, then the chance to see at most one sample beyond it is at most 1 %. This is the early-stopping test
 * of MLPerf LoadGen (mlcommons/inference, early_stopping) with one request over: 64 for p90, 130 for p95, 662
 * for p99, 6,636 for p99.9. Infinity for a percentile of 100, which no sample proves; 1 for 0.
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

/** Chance that none or one of `count` samples lies beyond, when each does with 1 − `below`. */
function chanceOfFewOver(below: number, count: number): number {
  return below ** count + count * (1 - below) * below ** (count - 1);
}

/** When a run needs more slots than this, neighbours are joined in pairs. */
const MAX_SLOTS = 40;
const FIRST_SLOT_NS = 1e7;
/** Bins per doubling of a value. A share over a bin's edge tells how samples cluster; no percentile is read from it. */
const BINS_PER_DOUBLING = 16;
const BINS = 47 * BINS_PER_DOUBLING + 1;
/** Slots are joined into about so many windows: short ones vary less by chance, long ones depend less on neighbours. */
const WINDOW_COUNTS = [40, 20, 10, 5] as const;
/** Fewer windows say nothing of how they vary. */
const LEAST_WINDOWS = 4;
/** Where fewer samples are left, how they cluster is not known well enough. */
const LEAST_INDEPENDENT = 20;
/** A queue that grows shows in the middle of the latencies before it shows in the tail. */
const BODY_PERCENTS = [50, 75, 90] as const;
/** Windows that are long enough to see a queue grow, and too short to take a slow drift of the run for one. */
const BODY_WINDOW_COUNTS: readonly number[] = [40, 20];

/** The ends of a confidence interval, in the unit of what was recorded. */
export type Interval = readonly [low: number, high: number];

/** How sure an interval is that is printed. */
const INTERVAL_CONFIDENCE = 0.95;

/**
 * Times of a run by windows of equal length, in bounded memory. Answers of a queue depend on each other: they come slow
 * in clusters. How the share of slow ones varies from window to window says how many independent samples they are worth
 * (the design effect, Kish, Survey Sampling). With that count, the order statistics of the whole bound a percentile.
 */
export class WindowPercentiles {
  #slots: SlotCounts[] = [];
  readonly #originNs: number;
  #slotNs = FIRST_SLOT_NS;
  /** Null where a value is not the time of one request. */
  readonly #queue: QueueSeries | null;
  readonly #ofRun: WindowPercentiles | null;

  /**
   * @param originNs where the first window begins, on the clock of `record`
   * @param perRequest whether each value is the time of one request, from its instant on
   * @param ofRun the same times of the whole run, where these are some of them
   */
  constructor(originNs = 0, perRequest = true, ofRun: WindowPercentiles | null = null) {
    this.#originNs = originNs;
    this.#ofRun = ofRun;
    this.#queue = perRequest ? new QueueSeries() : null;
  }

  /** Takes a value by the instant it belongs to; instants may come in any order. */
  record(offsetNs: number, value: number, times = 1): void {
    const sinceNs = Math.max(0, offsetNs - this.#originNs);
    while (sinceNs >= this.#slotNs * MAX_SLOTS) this.#double();
    const at = Math.floor(sinceNs / this.#slotNs);
    while (this.#slots.length <= at) this.#slots.push(new SlotCounts());
    this.#slots[at]!.add(binOf(value), times);
    this.#queue?.record(sinceNs, value);
  }

  /** The interval of 95 % around a percentile of all values; null where the run is too short to say. */
  interval(percent: number, whole: Histogram): Interval | null {
    const oneSided = (1 + INTERVAL_CONFIDENCE) / 2;
    const samples = fewest(this.independentSamples(percent, oneSided, whole.count));
    const over = mostBeyond(samples, 1 - percent / 100, 1 - oneSided);
    if (samples < LEAST_INDEPENDENT || over < 0) return null;
    const high = whole.percentile(100 * (1 - over / samples));
    const under = mostBeyond(samples, percent / 100, 1 - oneSided);
    const low = under < 1 ? null : whole.percentile((100 * under) / samples);
    return low === null || high === null ? null : [low, high];
  }

  /**
   * How many independent samples so many values are worth around a percentile: fewer by the greatest design effect
   * there and in the body of the distribution, and no more than a queue in a short run leaves.
   */
  independentSamples(percent: number, confidence: number, values: number): IndependentSamples {
    const counts = this.#countsOver(percent);
    const own = WINDOW_COUNTS.map((most) => {
      const windows = joined(counts, most);
      const effect = designEffect(windows);
      return effect <= chanceEffect(windows.length)
        ? effect
        : effect * smallSampleFactor(confidence, windows.length);
    });
    const body = BODY_PERCENTS.filter((each) => each < percent).flatMap((each) => {
      const bodyCounts = this.#countsOver(each);
      return BODY_WINDOW_COUNTS.map((most) => designEffect(joined(bodyCounts, most)));
    });
    return {
      own: Math.floor(values / Math.max(1, ...own)),
      body: Math.floor(values / Math.max(1, ...body)),
      queue: this.#seenQueue(this.#ofRun),
    };
  }

  #seenQueue(run: WindowPercentiles | null): SeenQueue | null {
    const seen = run === null ? this.#queue?.seen() : this.#queue?.seen(run.#queue, this.#shareOf(run));
    return seen ?? null;
  }

  /** How many of the values of a run these are, over the time that they lie in. */
  #shareOf(run: WindowPercentiles): number {
    const met = this.#slots.flatMap((slot, at) =>
      slot.from(0) > 0 ? [Math.floor((at * this.#slotNs) / run.#slotNs)] : [],
    );
    const own = this.#slots.reduce((sum, slot) => sum + slot.from(0), 0);
    const all = [...new Set(met)].reduce((sum, at) => sum + (run.#slots[at]?.from(0) ?? 0), 0);
    return Math.min(1, own / Math.max(1, all));
  }

  /** How many values each slot has, and how many of them lie in the bin of a percentile of all, or over it. */
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

/** Counts by bin, of the bins that were met: the times of a run differ by a few doublings. */
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

  /** How many lie in this bin or over it. */
  from(bin: number): number {
    return sumOf(this.#counts.subarray(Math.max(0, bin - this.#first)));
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

function sumOf(values: Uint32Array | Float64Array): number {
  let sum = 0;
  for (let at = 0; at < values.length; at++) sum += values[at]!;
  return sum;
}

/** Values of a window, and how many of them are slow. */
interface WindowCount {
  readonly all: number;
  readonly over: number;
}

/** Neighbours joined to at most so many windows. The rest at the end joins the last one. */
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
 * Variance of the share of slow values over windows, as a multiple of what independent values would have; 1 where
 * nothing varies.
 */
function designEffect(windows: readonly WindowCount[]): number {
  const total = windows.reduce((sum, { all }) => sum + all, 0);
  const share = windows.reduce((sum, { over }) => sum + over, 0) / total;
  if (windows.length < LEAST_WINDOWS || !(share > 0 && share < 1)) return 1;
  const squares = windows.reduce((sum, { all, over }) => sum + (over - share * all) ** 2, 0);
  return (squares * windows.length) / (windows.length - 1) / (total * share * (1 - share));
}

/** The design effect that independent values show once in twenty times: chi-squared by Wilson and Hilferty. */
function chanceEffect(windows: number): number {
  const spread = 2 / (9 * Math.max(1, windows - 1));
  return (1 - spread + studentT(0.95, ALMOST_NORMAL) * Math.sqrt(spread)) ** 3;
}

/** Widens what a few windows say of how they vary, as Student's t is wider than the normal distribution. */
function smallSampleFactor(confidence: number, windows: number): number {
  // One-sided bounds, too: runs that happen to be calm also vary least from window to window.
  const sure = Math.max(confidence, (1 + INTERVAL_CONFIDENCE) / 2);
  return (studentT(sure, windows - 1) / studentT(sure, ALMOST_NORMAL)) ** 2;
}

const ALMOST_NORMAL = 1_000;

/** If a run saw fewer states of a queue, the queue may have any length at other times. */
const LEAST_STATES = 35;

/**
 * The value that a percentile of the truth stays below with this confidence. By the order statistics of the values,
 * without an assumption about their distribution, where there are enough independent samples. Else the greatest value,
 * where only slow answers come in clusters, as after a stall. Where the body of the distribution clusters too, the
 * greatest value bounds a lower percentile; from there on the tail is taken for exponential, as that of a queue is
 * (Asmussen, Applied Probability and Queues, chapter XIII). A queue that was seen in few states says little of
 * what may come: then it is as many times the greatest value as the body spreads from the fast answers.
 * @param infinite so many more values are greater than any
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
  const slow = whole.percentile(BODY_PERCENTS.findLast((each) => each < percent) ?? percent) ?? 1;
  const fast = whole.percentile(FAST_PERCENT) ?? 1;
  return max * (Math.max(1, slow) / Math.max(1, fast));
}

/**
 * The value that a percentile of the truth lies above with this confidence, by the order statistics of the values (an
 * exact binomial test); null where too few independent samples say so.
 * @param infinite so many more values are greater than any
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
 * Distance of a percentile beyond the greatest sample, as a multiple of the distance from the median to the greatest,
 * for an exponential tail.
 */
function tailLength(percent: number, confidence: number, samples: number): number {
  const most = Math.max(LEAST_FOR_TAIL, samples);
  const bounded = (1 - confidence) ** (1 / most);
  return Math.max(0, Math.log((1 - bounded) / (1 - percent / 100))) / Math.log(most / 2);
}

const LEAST_FOR_TAIL = 5;

/** What a fast answer takes. */
const FAST_PERCENT = 5;

/** How many independent samples values are worth around a percentile, and in the body of their distribution. */
export interface IndependentSamples {
  readonly own: number;
  readonly body: number;
  /** Null where it is not known whether there was one. */
  readonly queue: SeenQueue | null;
}

export function fewest({ own, body, queue }: IndependentSamples): number {
  return Math.floor(Math.min(own, body, queue?.samples ?? Number.POSITIVE_INFINITY));
}

/** The fewest samples whose greatest one is over a percentile with this confidence. */
function leastSamples(percent: number, confidence: number): number {
  return Math.ceil(Math.log(1 - confidence) / Math.log(percent / 100));
}

/**
 * The least that a share of the truth may be with this confidence, where `share` of so many independent samples have it
 * (Clopper and Pearson).
 */
export function lowerShare(share: number, confidence: number, samples: number): number {
  const without = Math.ceil((1 - share) * samples - 1e-9);
  // The same from either side; the terms of the smaller one are summed, since a million samples take seconds else.
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
 * About how many independent samples it takes to show that a percentile is below a limit which `over` of all values
 * exceed. Infinity where too many do.
 */
export function samplesNeeded(percent: number, confidence: number, over: number): number {
  const share = 1 - percent / 100;
  if (over >= share) return Number.POSITIVE_INFINITY;
  const normal = (studentT(confidence, ALMOST_NORMAL) / (share - over)) ** 2 * share * (1 - share);
  return Math.max(LEAST_INDEPENDENT, leastSamples(percent, confidence), normal);
}

/** The most of `samples` that lie beyond with a chance of at most `chance`, when each does with `share`; −1 for none. */
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
 * The value that Student's t stays below with this probability. The distribution function is the finite sum for
 * whole degrees of freedom (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4).
 * @param probability over 0.5 and below 1
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

/** Chance to lie between −t and t. */
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
