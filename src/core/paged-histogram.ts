import { GREATEST_VALUE, nearestRank } from './histogram.ts';

/** Counts of one doubling: 1,024 steps to each beyond 2,047, as a `Histogram` has them. */
const STEPS = 1_024;
const STEP_BITS = 10;

/** So many values are kept as they are, in 16 KB at most: counts of them, if they lie far apart, would take four times that. */
const KEPT_VALUES = 2_048;
const FIRST_VALUES = 64;

/**
 * A `Histogram` of which hundreds are open at once: the same percentiles to the last bit. Few values are kept as they
 * are, of many there are counts, at 4 KB for each doubling in which anything lies. Most hold a handful of doublings,
 * where the counts of a `Histogram` reach from the least to the greatest without a hole.
 */
export class PagedHistogram {
  /** In any order; null once there are too many. */
  #values: Float64Array<ArrayBuffer> | null = new Float64Array(FIRST_VALUES);
  /** By doubling; the first two hold 0 … 1,023 and 1,024 … 2,047, value by value. */
  readonly #pages: (Uint32Array | undefined)[] = [];
  #count = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = Number.NEGATIVE_INFINITY;

  get count(): number {
    return this.#count;
  }

  /** @throws RangeError for a value that is negative or not whole: the caller's arithmetic is wrong. */
  record(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new RangeError(`a histogram counts whole values from 0, not ${value}`);
    }
    const counted = Math.min(value, GREATEST_VALUE);
    if (this.#count === KEPT_VALUES) this.#countValues();
    if (this.#values === null) this.#countOne(counted);
    else this.#values = kept(this.#values, this.#count, counted);
    this.#count += 1;
    if (value < this.#min) this.#min = value;
    if (value > this.#max) this.#max = value;
  }

  /** The least value that at least `percent` of all values do not exceed (nearest rank); null when there is none. */
  percentile(percent: number): number | null {
    if (this.#count === 0) return null;
    const rank = nearestRank(percent, this.#count);
    if (rank === this.#count) return this.#max;
    return Math.max(this.#min, Math.min(this.#max, this.#highestOf(rank)));
  }

  #countValues(): void {
    for (const value of this.#values ?? []) this.#countOne(value);
    this.#values = null;
  }

  #countOne(value: number): void {
    const page = pageOf(value);
    let counts = this.#pages[page];
    if (counts === undefined) {
      counts = new Uint32Array(STEPS);
      this.#pages[page] = counts;
    }
    counts[Math.floor(value / widthOf(page)) % STEPS]! += 1;
  }

  /** The highest value that is not told apart from the one at a rank. */
  #highestOf(rank: number): number {
    if (this.#values !== null) {
      const value = this.#values.subarray(0, this.#count).sort()[rank - 1] as number;
      const width = widthOf(pageOf(value));
      return (Math.floor(value / width) + 1) * width - 1;
    }
    let seen = 0;
    for (const [page, counts] of this.#pages.entries()) {
      if (counts === undefined) continue;
      const least = page === 0 ? 0 : STEPS;
      for (const [step, count] of counts.entries()) {
        seen += count;
        if (seen >= rank) return (least + step + 1) * widthOf(page) - 1;
      }
    }
    return this.#max;
  }
}

/** The values with one more at a place, in more room where there is none for it. */
function kept(values: Float64Array<ArrayBuffer>, at: number, value: number): Float64Array<ArrayBuffer> {
  let room = values;
  if (at === values.length) {
    room = new Float64Array(2 * values.length);
    room.set(values);
  }
  room[at] = value;
  return room;
}

function pageOf(value: number): number {
  // Bits the value takes, less those that number the steps.
  const high = Math.floor(value / 2 ** 32);
  const bits = high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(value);
  return Math.max(0, bits - STEP_BITS);
}

function widthOf(page: number): number {
  return page === 0 ? 1 : 2 ** (page - 1);
}
