/** Counts by a text: what exports lose, what imports lack. */
export class TextCounts {
  readonly #counts = new Map<string, number>();

  /** @param what a text of ours, never one that was captured */
  count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1);
  }

  get all(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }
}
