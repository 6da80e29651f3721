/** Between two passes where a mean gap is not known: the first had fewer than two arrivals. */
export const LONE_SEAM_US = 1_000_000;

/**
 * The time on which windows are played one after the other. The first arrival of a pass over a window begins one
 * mean gap of the pass before after its last arrival: the seam keeps the rate and is no silence of its own.
 */
export class Timeline {
  #passFirstUs: number | null = null;
  #passCount = 0;
  #baseUs = 0;
  #lastUs = 0;

  /** Where an arrival lies, whole microseconds after the first of all; to be asked in order. */
  place(arrivalUs: number): number {
    this.#passFirstUs ??= arrivalUs;
    this.#lastUs = this.#baseUs + arrivalUs - this.#passFirstUs;
    this.#passCount += 1;
    return this.#lastUs;
  }

  /** Ends a pass over a window; one without arrivals leaves nothing behind, not even a seam. */
  seam(): void {
    if (this.#passCount === 0) return;
    const spanUs = this.#lastUs - this.#baseUs;
    const gapUs = this.#passCount > 1 ? Math.round(spanUs / (this.#passCount - 1)) : LONE_SEAM_US;
    this.#baseUs = this.#lastUs + gapUs;
    this.#passFirstUs = null;
    this.#passCount = 0;
  }
}
