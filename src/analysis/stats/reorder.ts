/** Instants held at once: 2 MiB. At 1,000 sends a second an answer is waited for at least two minutes. */
const MAX_WAITING = 2 ** 18;

/**
 * Sorts instants that come in any order, at bounded memory: sends are told of as they end, and one slow answer may end
 * minutes after its successors. When the buffer is full its earlier half is released. An instant that comes after that
 * and is earlier counts as equal to the last one released, and as disordered.
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
