/**
 * Mean and population variance of a stream at constant memory, by updates that do not cancel (Welford). Null
 * while empty.
 */
export class Moments {
  #count = 0;
  #mean = 0;
  #squares = 0;

  get count(): number {
    return this.#count;
  }

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
}
