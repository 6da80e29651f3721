/** Steps per doubling: 1,024 above 2,047. Below that every value has a step of its own. */
const STEPS = 1_024;
const STEP_BITS = 10;
/** Steps per array. Less than a doubling, because the times of a run rarely fill a whole one. */
const PART_STEPS = 128;
const PARTS = STEPS / PART_STEPS;
const MOST_IN_32_BITS = 2 ** 32 - 1;
/** Greater values share the top bucket. 2⁴⁷ ns are 39 hours. */
const GREATEST_VALUE = 2 ** 47;

/** A bucket: values from `lowest` to `highest`, both inclusive. */
export interface HistogramBin {
  readonly lowest: number;
  readonly highest: number;
  readonly count: number;
}

/**
 * Counts whole non-negative values (nanoseconds, microseconds, bytes) at constant memory: at most 4 KB for each
 * doubling in use. Most histograms use a handful. Merging is lossless. A percentile is never below the true value and
 * at most 1/1024 above it. Values up to 2,047, minimum, maximum and mean are exact. Values over 2⁴⁷ are counted in the
 * top bucket.
 */
export class Histogram {
  /**
   * Counts, one array per eighth of a doubling. The first two doublings hold 0 … 1,023 and 1,024 … 2,047, with one step
   * per value.
   */
  readonly #parts: (Counts | undefined)[] = [];
  #count = 0;
  #sum = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = Number.NEGATIVE_INFINITY;

  get count(): number {
    return this.#count;
  }

  /** Null if empty, like `max` and `mean`. */
  get min(): number | null {
    return this.#count === 0 ? null : this.#min;
  }

  get max(): number | null {
    return this.#count === 0 ? null : this.#max;
  }

  get mean(): number | null {
    return this.#count === 0 ? null : this.#sum / this.#count;
  }

  /** @throws RangeError for a value that is negative or not whole: the caller has a bug */
  record(value: number, times = 1): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new RangeError(`a histogram counts whole values from 0, not ${value}`);
    }
    const counted = Math.min(value, GREATEST_VALUE);
    const page = pageOf(counted);
    const step = Math.floor(counted / widthOf(page)) % STEPS;
    this.#add(page * PARTS + Math.floor(step / PART_STEPS), step % PART_STEPS, times);
    this.#count += times;
    this.#sum += value * times;
    if (value < this.#min) this.#min = value;
    if (value > this.#max) this.#max = value;
  }

  /** Adds all counts of another histogram. */
  merge(other: Histogram): void {
    for (const [part, counts] of other.#parts.entries()) {
      if (counts === undefined) continue;
      for (let step = 0; step < PART_STEPS; step += 1) {
        if (counts[step]! > 0) this.#add(part, step, counts[step]!);
      }
    }
    this.#count += other.#count;
    this.#sum += other.#sum;
    this.#min = Math.min(this.#min, other.#min);
    this.#max = Math.max(this.#max, other.#max);
  }

  /**
   * The smallest recorded value that at least `percent` % of all values do not exceed (nearest rank); null if empty.
   * `infinite` more values count as greater than any recorded one, so the result may be Infinity.
   */
  percentile(percent: number, infinite = 0): number | null {
    const total = this.#count + infinite;
    if (total === 0) return null;
    const rank = nearestRank(percent, total);
    if (rank > this.#count) return Number.POSITIVE_INFINITY;
    if (rank === this.#count) return this.#max;
    let seen = 0;
    for (const { highest, count } of this.bins()) {
      seen += count;
      if (seen >= rank) return Math.max(this.#min, Math.min(this.#max, highest));
    }
    return this.#max;
  }

  /** A lower bound of the number of greater values: the bin with `value` is not counted. */
  countOver(value: number): number {
    let over = 0;
    for (const { lowest, count } of this.bins()) if (lowest > value) over += count;
    return over;
  }

  /** Non-empty bins in rising order. */
  *bins(): Generator<HistogramBin> {
    for (const [part, counts] of this.#parts.entries()) {
      if (counts === undefined) continue;
      const page = Math.floor(part / PARTS);
      const width = widthOf(page);
      const first = (page === 0 ? 0 : STEPS) + (part % PARTS) * PART_STEPS;
      for (let step = 0; step < PART_STEPS; step += 1) {
        const count = counts[step]!;
        const lowest = (first + step) * width;
        if (count > 0) yield { lowest, highest: lowest + width - 1, count };
      }
    }
  }

  #add(part: number, step: number, times: number): void {
    let counts = this.#parts[part];
    if (counts === undefined || (counts[step]! + times > MOST_IN_32_BITS && counts instanceof Uint32Array)) {
      // Counts over 32 bits are rare, but must not be truncated.
      counts =
        times > MOST_IN_32_BITS || counts !== undefined
          ? Float64Array.from(counts ?? NONE)
          : new Uint32Array(PART_STEPS);
      this.#parts[part] = counts;
    }
    counts[step]! += times;
  }
}

type Counts = Uint32Array | Float64Array;

const NONE = new Uint32Array(PART_STEPS);

function pageOf(value: number): number {
  // Bits of the value minus those of the step number.
  const high = Math.floor(value / 2 ** 32);
  const bits = high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(value);
  return Math.max(0, bits - STEP_BITS);
}

function widthOf(page: number): number {
  return page === 0 ? 1 : 2 ** (page - 1);
}

/** The 1-based rank of a percentile among `count` sorted values. */
export function nearestRank(percent: number, count: number): number {
  // 99.9 % of 1,000 is 999, not 999.0000000000001.
  const rank = Math.ceil((percent * count) / 100 - 1e-9 * Math.max(1, count / 1e6));
  return Math.min(count, Math.max(1, rank));
}

/** Counts per bucket (not cumulative), with one more for values above the last bound. */
export interface SecondsHistogram {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
  readonly sum: number;
}
