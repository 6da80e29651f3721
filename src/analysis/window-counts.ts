import { Moments } from './moments.ts';

/** With fewer whole windows a variance of counts says nothing. */
const MIN_WINDOWS = 20;

/**
 * Counts of arrivals in windows of one width that begin at the first arrival. Whole ticks throughout, so that
 * a window in week two begins exactly where it should; silences are crossed in one step however long.
 */
export class WindowCounts {
  readonly #widthTicks: number;
  readonly #whole = new Moments();
  #endOffset: number;
  #current = 0;
  #peak = 0;

  constructor(widthTicks: number) {
    this.#widthTicks = widthTicks;
    this.#endOffset = widthTicks;
  }

  /** Takes an arrival at an offset from the first one, in ticks, never less than the offset before. */
  add(offset: number): void {
    if (offset >= this.#endOffset) {
      this.#whole.add(this.#current);
      const empty = Math.floor((offset - this.#endOffset) / this.#widthTicks);
      this.#whole.addRepeated(0, empty);
      this.#endOffset += (empty + 1) * this.#widthTicks;
      this.#current = 0;
    }
    this.#current += 1;
    if (this.#current > this.#peak) this.#peak = this.#current;
  }

  /** The greatest count of any window, the last and perhaps unfinished one included. */
  get peak(): number {
    return this.#peak;
  }

  /**
   * Index of dispersion for counts: population variance over mean, of whole windows (the one that holds the last
   * arrival is not known to be whole). 1 for a Poisson process; null below 20 windows.
   */
  get dispersion(): number | null {
    const { count, mean, variance } = this.#whole;
    if (count < MIN_WINDOWS || mean === null || variance === null || mean === 0) return null;
    return variance / mean;
  }
}
