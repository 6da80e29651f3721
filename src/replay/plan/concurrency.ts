import TinyQueue from 'tinyqueue';

/**
 * Counts the requests that are open at the same time if each takes as long as recorded. Memory grows with their
 * number.
 */
export class Concurrency {
  readonly #ends = new TinyQueue<number>();
  #max = 0;
  #known = 0;

  /** Adds a planned send. Call it in order. @param durationNs the recorded duration; null if unknown */
  add(intendedOffsetNs: number, durationNs: number | null): void {
    if (durationNs === null) return;
    this.#known += 1;
    while ((this.#ends.peek() ?? Number.POSITIVE_INFINITY) <= intendedOffsetNs) this.#ends.pop();
    this.#ends.push(intendedOffsetNs + durationNs);
    this.#max = Math.max(this.#max, this.#ends.length);
  }

  /** Those that are open when the last one is sent. */
  get open(): number {
    return this.#ends.length;
  }

  /** The most open requests at once; null if no duration was known. */
  get max(): number | null {
    return this.#known === 0 ? null : this.#max;
  }
}
