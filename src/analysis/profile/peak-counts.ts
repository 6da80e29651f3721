/** The busiest window of one width. */
export interface Peak {
  readonly windowS: number;
  readonly requests: number;
  /** Of all whole windows. */
  readonly meanRequests: number;
  /** Epoch microseconds of the window's first instant. */
  readonly fromUs: number;
}

const US_PER_S = 1e6;

/**
 * The most arrivals in any window of one width. Windows lie side by side from the first arrival, and the one that
 * holds the last arrival is left out unless it is known to be over: the same windows as those of the index of
 * dispersion.
 */
export class PeakCounts {
  readonly #windowS: number;
  readonly #widthUs: number;
  #endUs: number;
  #current = 0;
  #currentFromUs = 0;
  #peak = 0;
  #peakFromUs = 0;
  /** Of the windows that are over: how many, and arrivals in them. */
  #windows = 0;
  #arrivals = 0;

  constructor(windowS: number) {
    this.#windowS = windowS;
    this.#widthUs = windowS * US_PER_S;
    this.#endUs = this.#widthUs;
  }

  /**
   * Takes the next arrival.
   * @param offsetUs since the first arrival, on the time that windows are laid on; never less than the one before
   * @param arrivalUs epoch microseconds, to say when the peak was
   */
  add(offsetUs: number, arrivalUs: number): void {
    if (offsetUs >= this.#endUs) {
      this.#close();
      const passed = Math.floor((offsetUs - this.#endUs) / this.#widthUs) + 1;
      this.#windows += passed;
      this.#endUs += passed * this.#widthUs;
    }
    if (this.#current === 0) this.#currentFromUs = arrivalUs - (offsetUs - (this.#endUs - this.#widthUs));
    this.#current += 1;
  }

  /** Null while no whole window is over. */
  peak(): Peak | null {
    if (this.#peak === 0) return null;
    return {
      windowS: this.#windowS,
      requests: this.#peak,
      meanRequests: this.#arrivals / this.#windows,
      fromUs: this.#peakFromUs,
    };
  }

  #close(): void {
    if (this.#current > this.#peak) {
      this.#peak = this.#current;
      this.#peakFromUs = this.#currentFromUs;
    }
    this.#arrivals += this.#current;
    this.#current = 0;
  }
}
