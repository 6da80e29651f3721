import { Histogram } from '../../core/histogram.ts';

/** How sure the floor is: MLPerf's early stopping tests at 99 %. */
const CONFIDENCE = 0.99;
/** So many requests may lie beyond the percentile. */
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
const MAX_SLOTS = 20;
const FIRST_SLOT_NS = 1e9;
/** An interval needs this many windows. Fewer do not show how they vary; more are too short to be independent. */
const MIN_WINDOWS = 5;
const MAX_WINDOWS = 10;

/** Two-sided 95 %: so much of Student's t lies below the upper end. */
const BELOW_UPPER_END = 0.975;

/** 95 % of the time the percentile lies within; in the unit of what was recorded. */
export type Interval = readonly [low: number, high: number];

/**
 * Times of a run by windows of equal length, in the memory of twenty histograms. How a percentile varies from window to
 * window says how far it can be trusted. Samples of a queue depend on each other, so an interval over single samples is
 * far too narrow. Windows hardly depend on each other.
 */
export class WindowPercentiles {
  readonly #slots: Histogram[] = [];
  readonly #originNs: number;
  #slotNs = FIRST_SLOT_NS;

  /** @param originNs where the first window begins, on the clock of `record` */
  constructor(originNs = 0) {
    this.#originNs = originNs;
  }

  /** Takes a value, whole, by the instant it belongs to; instants may come in any order. */
  record(offsetNs: number, value: number): void {
    const sinceNs = Math.max(0, offsetNs - this.#originNs);
    while (sinceNs >= this.#slotNs * MAX_SLOTS) this.#double();
    const at = Math.floor(sinceNs / this.#slotNs);
    while (this.#slots.length <= at) this.#slots.push(new Histogram());
    this.#slots[at]?.record(value);
  }

  /**
   * The interval around a percentile of all values: Student's t over the same percentile of each window, about the
   * percentile of the whole (sectioning; Asmussen and Glynn, Stochastic Simulation), in logarithms, because
   * times are skewed and never negative. Null where the run has not five windows with the samples that the
   * percentile needs.
   */
  interval(percent: number): Interval | null {
    const windows = this.#windowsFor(sampleFloor(percent));
    if (windows === null) return null;
    const t = studentT(BELOW_UPPER_END, windows.length - 1);
    const whole = new Histogram();
    for (const window of windows) whole.merge(window);
    const middle = logOf(whole, percent);
    const squares = windows.reduce((sum, window) => sum + (logOf(window, percent) - middle) ** 2, 0);
    const halfWidth = t * Math.sqrt(squares / (windows.length * (windows.length - 1)));
    return [Math.exp(middle - halfWidth), Math.exp(middle + halfWidth)];
  }

  /** The most windows of equal length that each hold enough, at most ten; null for fewer than five. */
  #windowsFor(floor: number): Histogram[] | null {
    const least = Math.ceil(this.#slots.length / MAX_WINDOWS);
    const most = Math.floor(this.#slots.length / MIN_WINDOWS);
    for (let length = Math.max(1, least); length <= most; length++) {
      const windows = this.#joined(length);
      if (windows.length <= MAX_WINDOWS && windows.every(({ count }) => count >= floor)) return windows;
    }
    return null;
  }

  /** Slots joined to windows of this many slots. The rest at the end joins the last window. */
  #joined(length: number): Histogram[] {
    const count = Math.floor(this.#slots.length / length);
    const windows = Array.from({ length: count }, () => new Histogram());
    for (const [at, slot] of this.#slots.entries()) {
      windows[Math.min(count - 1, Math.floor(at / length))]?.merge(slot);
    }
    return windows;
  }

  #double(): void {
    const slots = this.#slots.splice(0);
    for (let at = 0; at < slots.length; at += 2) {
      const slot = slots[at] as Histogram;
      const next = slots[at + 1];
      if (next !== undefined) slot.merge(next);
      this.#slots.push(slot);
    }
    this.#slotNs *= 2;
  }
}

function logOf(values: Histogram, percent: number): number {
  return Math.log(Math.max(1, values.percentile(percent) ?? 1));
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
