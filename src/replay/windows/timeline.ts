import type { TimeRange } from '../../core/ports.ts';

/** At least so far apart are passes where there is no mean gap: one arrival, or all at one instant. */
export const LONE_SEAM_US = 1_000_000;

/**
 * The time on which windows are played one after the other, edge to edge: between the last arrival of the one and
 * the first of the next lies the silence that both have there, and at least one mean gap. So the rate stays, and a
 * window that was cut at its arrivals gets no burst at the seam.
 */
export class Timeline {
  #range: TimeRange | null = null;
  #firstUs = 0;
  /** Of the pass; null before its first arrival. */
  #lastUs: number | null = null;
  #count = 0;
  /** Where the last arrival of all lies; null before it. */
  #lastOffsetUs: number | null = null;
  /** Since that arrival, up to the begin of this pass. */
  #silenceUs = 0;
  #meanGapUs = LONE_SEAM_US;

  /** Begins a pass over a window. */
  begin(range: TimeRange): void {
    this.#endPass();
    this.#range = range;
    this.#lastUs = null;
    this.#count = 0;
  }

  /** Where an arrival of the pass lies, whole microseconds after the first of all; to be asked in order. */
  place(arrivalUs: number): number {
    const offsetUs = this.#offsetOf(arrivalUs);
    this.#lastUs = arrivalUs;
    this.#lastOffsetUs = offsetUs;
    this.#count += 1;
    return offsetUs;
  }

  #offsetOf(arrivalUs: number): number {
    if (this.#lastUs !== null) return (this.#lastOffsetUs ?? 0) + arrivalUs - this.#lastUs;
    this.#firstUs = arrivalUs;
    if (this.#lastOffsetUs === null) return 0;
    const leadUs = arrivalUs - (this.#range?.fromUs ?? arrivalUs);
    return this.#lastOffsetUs + Math.max(this.#meanGapUs, this.#silenceUs + leadUs);
  }

  #endPass(): void {
    if (this.#range === null) return;
    const { fromUs, toUs } = this.#range;
    if (this.#lastUs === null) {
      this.#silenceUs += toUs - fromUs;
      return;
    }
    this.#silenceUs = toUs - this.#lastUs;
    const spanUs = this.#lastUs - this.#firstUs;
    // Never nothing: passes without length would repeat for ever within one instant.
    this.#meanGapUs = spanUs === 0 ? LONE_SEAM_US : Math.ceil(spanUs / (this.#count - 1));
  }
}
