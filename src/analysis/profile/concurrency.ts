import { Histogram } from '../../core/histogram.ts';
import type { ConcurrencyFigures } from '../../documents/profile.ts';

const MAX_OPEN = 1_048_576;
const INITIAL_OPEN = 1_024;

/**
 * Counts what is in flight, from arrivals in order and their ends. What began before a window is not known to it,
 * so that each window begins with nothing in flight.
 */
export class Concurrency {
  #ends = new Float64Array(INITIAL_OPEN);
  #open = 0;
  #busyUs = 0;
  #spanUs = 0;
  #firstUs: number | null = null;
  #lastUs = 0;
  #max = 0;
  #known = 0;
  #capped = false;
  readonly #atArrival = new Histogram();

  /**
   * Takes the next arrival of a window; `endUs` is null where it is not known.
   * @returns how many are in flight now, null before the first whose end is known
   */
  add(atUs: number, endUs: number | null): number | null {
    this.#firstUs ??= atUs;
    this.#lastUs = atUs;
    while (this.#open > 0 && this.#ends[0]! <= atUs) this.#pop();
    if (endUs !== null && endUs >= atUs) {
      this.#known += 1;
      this.#busyUs += endUs - atUs;
      this.#push(endUs);
      // Its own end may be this very instant; it was there nevertheless.
      this.#max = Math.max(this.#max, this.#open);
      this.#atArrival.record(this.#open);
    }
    return this.#known === 0 ? null : this.#open;
  }

  /** Ends a window: what is still in flight counts up to its last arrival. */
  endWindow(): void {
    for (let index = 0; index < this.#open; index += 1) {
      this.#busyUs -= Math.max(0, this.#ends[index]! - this.#lastUs);
    }
    this.#open = 0;
    if (this.#firstUs !== null) this.#spanUs += this.#lastUs - this.#firstUs;
    this.#firstUs = null;
  }

  figures(): ConcurrencyFigures {
    const isKnown = this.#known > 0;
    return {
      mean: isKnown && this.#spanUs > 0 ? this.#busyUs / this.#spanUs : null,
      max: isKnown ? this.#max : null,
      atArrival: {
        p50: this.#atArrival.percentile(50),
        p95: this.#atArrival.percentile(95),
        p99: this.#atArrival.percentile(99),
      },
      known: this.#known,
      capped: this.#capped,
    };
  }

  /** A binary heap of ends, the soonest first. */
  #push(endUs: number): void {
    if (this.#open === MAX_OPEN) {
      this.#capped = true;
      this.#busyUs -= Math.max(0, endUs - this.#lastUs);
      return;
    }
    if (this.#open === this.#ends.length) {
      const grown = new Float64Array(this.#ends.length * 2);
      grown.set(this.#ends);
      this.#ends = grown;
    }
    const ends = this.#ends;
    let at = this.#open;
    this.#open += 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (ends[parent]! <= endUs) break;
      ends[at] = ends[parent]!;
      at = parent;
    }
    ends[at] = endUs;
  }

  #pop(): void {
    const ends = this.#ends;
    this.#open -= 1;
    const last = ends[this.#open]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#open) break;
      if (child + 1 < this.#open && ends[child + 1]! < ends[child]!) child += 1;
      if (ends[child]! >= last) break;
      ends[at] = ends[child]!;
      at = child;
    }
    ends[at] = last;
  }
}
