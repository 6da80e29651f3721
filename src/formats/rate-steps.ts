const MAX_STEPS = 512;

/** Sends counted in equal steps of time, as many as a script can hold: where they get too many, two become one. */
export class RateSteps {
  readonly #most: number;
  #counts: number[] = [];
  #stepS = 1;

  constructor(most = MAX_STEPS) {
    this.#most = most;
  }

  /** Seconds of a step. */
  get stepS(): number {
    return this.#stepS;
  }

  get counts(): readonly number[] {
    return this.#counts;
  }

  add(offsetNs: number): void {
    while (offsetNs / 1e9 / this.#stepS >= this.#most) this.#widen();
    const step = Math.floor(offsetNs / 1e9 / this.#stepS);
    while (this.#counts.length <= step) this.#counts.push(0);
    this.#counts[step] = (this.#counts[step] ?? 0) + 1;
  }

  #widen(): void {
    const wide: number[] = [];
    for (const [at, count] of this.#counts.entries()) {
      wide[at >> 1] = (wide[at >> 1] ?? 0) + count;
    }
    this.#counts = wide;
    this.#stepS *= 2;
  }
}
