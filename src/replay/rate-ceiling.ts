import { LIMITS } from '../core/limits.ts';

const NS_PER_S = 1e9;

/**
 * The ceiling on planned sends in any second of the run. What is over it is refused and counted, never
 * moved: a moved send would be another arrival pattern.
 */
export class RateCeiling {
  readonly #maxPerSecond: number;
  #second = -1;
  #planned = 0;

  constructor(maxPerSecond: number) {
    this.#maxPerSecond = maxPerSecond;
  }

  /** @param maxPerSecond as it was stated; null for so many times the planned peak */
  static over(plannedPeakPerSecond: number, maxPerSecond: number | null): RateCeiling {
    return new RateCeiling(maxPerSecond ?? plannedPeakPerSecond * LIMITS.rateOverPeak);
  }

  /** Whether a send planned at this instant is within the ceiling. Instants come in order. */
  admits(intendedOffsetNs: number): boolean {
    const second = Math.floor(intendedOffsetNs / NS_PER_S);
    if (second !== this.#second) {
      this.#second = second;
      this.#planned = 0;
    }
    if (this.#planned >= this.#maxPerSecond) return false;
    this.#planned += 1;
    return true;
  }
}
