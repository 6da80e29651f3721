/** Where a ladder begins, and where it ends at the latest. */
const FIRST_RATE = 125;
const LAST_RATE = 128_000;
const GROWTH = 4;
/** Rates tried between the last that was kept and the first that was not. */
const REFINEMENTS = 3;
/** Something else on the machine may spoil a step: a rate counts as too high when it was missed so often. */
const MISSES = 2;
/** Rates in between are whole multiples of this. */
const ROUND = 25;

/**
 * Looks for the highest rate that is kept: each four times the one before until one is missed, then between the two,
 * by ratio. Pure.
 */
export class RateLadder {
  #kept: number | null = null;
  #missed: number | null = null;
  #rate = FIRST_RATE;
  #missesHere = 0;
  #refined = 0;
  /** The rate lies between one that was kept and one that was not. */
  #between = false;

  /** Requests per second to try next; null when the search is over. */
  get next(): number | null {
    if (this.#missed === null) return this.#rate > LAST_RATE ? null : this.#rate;
    return this.#kept === null || this.#refined >= REFINEMENTS ? null : this.#rate;
  }

  /** The highest rate that was kept; null while none was. */
  get highestKept(): number | null {
    return this.#kept;
  }

  /** The lowest rate that was given up; null while none was. */
  get lowestMissed(): number | null {
    return this.#missed;
  }

  /** Whether the highest rate that is tried was kept, so that the limit lies beyond. */
  get isOpen(): boolean {
    return this.#kept !== null && this.#missed === null && this.#rate > LAST_RATE;
  }

  /** Tells what became of the rate that was tried. */
  tell(kept: boolean): void {
    if (!kept) {
      this.#missesHere += 1;
      if (this.#missesHere < MISSES) return;
    }
    this.#missesHere = 0;
    if (kept) this.#kept = this.#rate;
    else this.#missed = this.#rate;
    if (this.#missed === null) {
      this.#rate *= GROWTH;
      return;
    }
    if (this.#between) this.#refined += 1;
    this.#between = true;
    this.#rate = Math.round(Math.sqrt((this.#kept ?? 0) * this.#missed) / ROUND) * ROUND;
  }
}
