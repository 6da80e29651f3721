import { GREATEST_VALUE, nearestRank } from './histogram.ts';

/** Counts of one doubling: 1,024 steps to each beyond 2,047, as a `Histogram` has them. */
const STEPS = 1_024;
const STEP_BITS = 10;

/**
 * A `Histogram` of which hundreds are open at once: the same percentiles to the last bit, at 4 KB for each doubling in
 * which anything lies. Most hold a handful of doublings, where the counts of a `Histogram` reach from the least to
 * the greatest without a hole.
 */
export class PagedHistogram {
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
    const page = pageOf(counted);
    let counts = this.#pages[page];
    if (counts === undefined) {
      counts = new Uint32Array(STEPS);
      this.#pages[page] = counts;
    }
    counts[Math.floor(counted / widthOf(page)) % STEPS]! += 1;
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

  /** The highest value that is not told apart from the one at a rank. */
  #highestOf(rank: number): number {
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

function pageOf(value: number): number {
  // Bits the value takes, less those that number the steps.
  const high = Math.floor(value / 2 ** 32);
  const bits = high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(value);
  return Math.max(0, bits - STEP_BITS);
}

function widthOf(page: number): number {
  return page === 0 ? 1 : 2 ** (page - 1);
}
