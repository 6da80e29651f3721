/** With fewer whole windows a variance of counts says nothing. */
const MIN_WINDOWS = 20;

/**
 * Counts of arrivals in windows of one width, laid side by side from offset 0. Whole ticks and whole sums
 * throughout, so that a window in week two begins exactly where it should and the same arrivals give the same
 * figure in any unit; silences are crossed in one step however long.
 */
export class WindowCounts {
  readonly #widthTicks: number;
  /** Of the windows that are over: how many, arrivals in them, and the sum of their squared counts. */
  #windows = 0;
  #arrivals = 0;
  #squares = 0;
  #endOffset: number;
  #current = 0;
  #peak = 0;

  constructor(widthTicks: number) {
    this.#widthTicks = widthTicks;
    this.#endOffset = widthTicks;
  }

  /** Takes an arrival at an offset, in ticks, never less than the offset before. */
  add(offset: number): void {
    if (offset >= this.#endOffset) {
      const passed = Math.floor((offset - this.#endOffset) / this.#widthTicks) + 1;
      this.#windows += passed;
      this.#arrivals += this.#current;
      this.#squares += this.#current * this.#current;
      this.#endOffset += passed * this.#widthTicks;
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
    if (this.#windows < MIN_WINDOWS) return null;
    const windows = BigInt(this.#windows);
    const arrivals = BigInt(this.#arrivals);
    // Both terms may be far greater than their difference; whole numbers lose nothing there.
    return Number(windows * BigInt(this.#squares) - arrivals * arrivals) / Number(windows * arrivals);
  }
}
