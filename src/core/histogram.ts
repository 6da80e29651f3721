import float64Histogram from 'hdr-histogram-js/dist/Float64Histogram.js';

// Imports only this class: the whole library has a WebAssembly module and a compressor. It takes 23 MB
// resident and 0.15 s in each thread that counts.

/**
 * The default import of a CommonJS module depends on the loader: Node gives the module, others its default.
 */
const Float64Histogram = 'default' in float64Histogram ? float64Histogram.default : float64Histogram;

/** Three digits: 2,048 linear steps below 2,048, then 1,024 per doubling. */
const SIGNIFICANT_DIGITS = 3;
/** Initial range; it grows for greater values. */
const INITIAL_HIGHEST = 2 ** 36;
/** Above this the library's logarithm no longer separates neighbouring buckets. 2⁴⁷ ns are 39 hours. */
const GREATEST_VALUE = 2 ** 47;

/** A bucket: values from `lowest` to `highest`, both inclusive. */
export interface HistogramBin {
  readonly lowest: number;
  readonly highest: number;
  readonly count: number;
}

/**
 * Counts whole non-negative values (nanoseconds, microseconds, bytes) at constant memory; merging is
 * lossless. A percentile is never below the true value and at most 1/1024 above it. Values up to 2,047,
 * minimum, maximum and mean are exact. Values over 2⁴⁷ are counted in the top bucket.
 */
export class Histogram {
  /** Made with the first value: it takes a quarter of a megabyte, and many histograms stay empty. */
  #counts: InstanceType<typeof Float64Histogram> | null = null;
  #sum = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = Number.NEGATIVE_INFINITY;

  get count(): number {
    return this.#counts?.totalCount ?? 0;
  }

  /** Null if empty, like `max` and `mean`. */
  get min(): number | null {
    return this.count === 0 ? null : this.#min;
  }

  get max(): number | null {
    return this.count === 0 ? null : this.#max;
  }

  get mean(): number | null {
    return this.count === 0 ? null : this.#sum / this.count;
  }

  /** @throws RangeError for a value that is negative or not whole: the caller has a bug */
  record(value: number, times = 1): void {
    assertCountable(value);
    this.#counts ??= emptyCounts();
    if (times === 1) this.#counts.recordValue(Math.min(value, GREATEST_VALUE));
    else this.#counts.recordValueWithCount(Math.min(value, GREATEST_VALUE), times);
    this.#sum += value * times;
    if (value < this.#min) this.#min = value;
    if (value > this.#max) this.#max = value;
  }

  /** Adds all counts of another histogram. */
  merge(other: Histogram): void {
    if (other.#counts === null) return;
    this.#counts ??= emptyCounts();
    this.#counts.add(other.#counts);
    this.#sum += other.#sum;
    this.#min = Math.min(this.#min, other.#min);
    this.#max = Math.max(this.#max, other.#max);
  }

  /**
   * The least value that at least `percent` of all values do not exceed (nearest rank); null if empty.
   * `infinite` more values count as greater than any recorded one, so the result may be Infinity.
   */
  percentile(percent: number, infinite = 0): number | null {
    const total = this.count + infinite;
    if (total === 0) return null;
    const rank = nearestRank(percent, total);
    if (this.#counts === null || rank > this.count) return Number.POSITIVE_INFINITY;
    if (rank === this.count) return this.#max;
    // Half a rank lower, so that the library rounds up to exactly this rank despite floating-point errors.
    const value = this.#counts.getValueAtPercentile(((rank - 0.5) / this.count) * 100);
    return Math.max(this.#min, Math.min(this.#max, value));
  }

  /** A lower bound of the number of greater values: the bin with `value` is not counted. */
  countOver(value: number): number {
    let over = 0;
    for (const { lowest, count } of this.bins()) if (lowest > value) over += count;
    return over;
  }

  /** Non-empty bins in rising order. */
  *bins(): Generator<HistogramBin> {
    const counts = this.#counts;
    if (counts === null) return;
    for (let index = 0; index < counts.countsArrayLength; index++) {
      const count = counts.getCountAtIndex(index);
      if (count === 0) continue;
      const lowest = counts.valueFromIndex(index);
      yield { lowest, highest: counts.highestEquivalentValue(lowest), count };
    }
  }
}

function emptyCounts(): InstanceType<typeof Float64Histogram> {
  const counts = new Float64Histogram(1, INITIAL_HIGHEST, SIGNIFICANT_DIGITS);
  counts.autoResize = true;
  return counts;
}

/** The 1-based rank of a percentile among `count` sorted values. */
export function nearestRank(percent: number, count: number): number {
  // 99.9 % of 1,000 is 999, not 999.0000000000001.
  const rank = Math.ceil((percent * count) / 100 - 1e-9 * Math.max(1, count / 1e6));
  return Math.min(count, Math.max(1, rank));
}

/** Steps per doubling: 1,024 above 2,047, as in `Histogram`. */
const STEPS = 1_024;
const STEP_BITS = 10;

/**
 * A `Histogram` for use in hundreds at once, with bit-identical percentiles. It keeps counts, 4 KB for each
 * doubling in use. Most hold a handful of doublings, whereas a `Histogram` allocates all counts from the least
 * to the greatest.
 */
export class PagedHistogram {
  /** By doubling. The first two hold 0 … 1,023 and 1,024 … 2,047, value by value. */
  readonly #pages: (Uint32Array | undefined)[] = [];
  #count = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = Number.NEGATIVE_INFINITY;

  get count(): number {
    return this.#count;
  }

  /** @throws RangeError for a value that is negative or not whole: the caller has a bug */
  record(value: number): void {
    assertCountable(value);
    const counted = Math.min(value, GREATEST_VALUE);
    const page = pageOf(counted);
    this.#pages[page] ??= new Uint32Array(STEPS);
    this.#pages[page][Math.floor(counted / widthOf(page)) % STEPS]! += 1;
    this.#count += 1;
    if (value < this.#min) this.#min = value;
    if (value > this.#max) this.#max = value;
  }

  /** The least value that at least `percent` of all values do not exceed (nearest rank); null if empty. */
  percentile(percent: number): number | null {
    if (this.#count === 0) return null;
    const rank = nearestRank(percent, this.#count);
    if (rank === this.#count) return this.#max;
    return Math.max(this.#min, Math.min(this.#max, this.#highestOf(rank)));
  }

  /** Highest value of the bin at a rank. */
  #highestOf(rank: number): number {
    let seen = 0;
    for (const [page, counts = []] of this.#pages.entries()) {
      const least = page === 0 ? 0 : STEPS;
      for (const [step, count] of counts.entries()) {
        seen += count;
        if (seen >= rank) return (least + step + 1) * widthOf(page) - 1;
      }
    }
    return this.#max;
  }
}

function assertCountable(value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return;
  throw new RangeError(`a histogram counts whole values from 0, not ${value}`);
}

function pageOf(value: number): number {
  // Bits of the value, less those of the step number.
  const high = Math.floor(value / 2 ** 32);
  const bits = high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(value);
  return Math.max(0, bits - STEP_BITS);
}

function widthOf(page: number): number {
  return page === 0 ? 1 : 2 ** (page - 1);
}
