/** Instants held at once: 8 MiB. What was sent at 10,000 a second is waited for some minute and a half. */
const MAX_WAITING = 2 ** 20;

/**
 * Puts instants into order that come in any, where no number says which is next: what is held is bounded, and of more
 * the earlier half is let go of. What comes after that and is earlier still counts as leaving together with the last.
 */
export class InstantOrder {
  readonly #release: (instantNs: number) => void;
  readonly #limit: number;
  #waiting: number[] = [];
  #last = Number.NEGATIVE_INFINITY;
  #disordered = 0;

  /** `release` gets the instants, never decreasing. */
  constructor(release: (instantNs: number) => void, limit: number = MAX_WAITING) {
    this.#release = release;
    this.#limit = limit;
  }

  /** Instants that came too late for their place. */
  get disordered(): number {
    return this.#disordered;
  }

  add(instantNs: number): void {
    this.#waiting.push(instantNs);
    if (this.#waiting.length >= this.#limit) this.#releaseFirst(Math.ceil(this.#limit / 2));
  }

  /** At the end of the run. */
  flush(): void {
    this.#releaseFirst(this.#waiting.length);
  }

  #releaseFirst(count: number): void {
    const sorted = Float64Array.from(this.#waiting).sort();
    for (const instant of sorted.subarray(0, count)) {
      if (instant < this.#last) this.#disordered += 1;
      this.#last = Math.max(this.#last, instant);
      this.#release(this.#last);
    }
    this.#waiting = [...sorted.subarray(count)];
  }
}
