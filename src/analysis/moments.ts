/**
 * Mean and population variance of a stream at constant memory, by updates that do not cancel (Welford; many
 * equal values at once by Chan's rule for joining two samples).
 */
export class Moments {
  #count = 0;
  #mean = 0;
  #squares = 0;

  get count(): number {
    return this.#count;
  }

  /** Null while empty; so is the variance. */
  get mean(): number | null {
    return this.#count === 0 ? null : this.#mean;
  }

  get variance(): number | null {
    return this.#count === 0 ? null : this.#squares / this.#count;
  }

  add(value: number): void {
    this.#count += 1;
    const delta = value - this.#mean;
    this.#mean += delta / this.#count;
    this.#squares += delta * (value - this.#mean);
  }

  /** The same as adding `value` `times` times, at the price of once. */
  addRepeated(value: number, times: number): void {
    if (times === 0) return;
    const total = this.#count + times;
    const delta = value - this.#mean;
    this.#squares += delta * delta * ((this.#count * times) / total);
    this.#mean += delta * (times / total);
    this.#count = total;
  }
}
