/**
 * Things that must not be silent for longer than one limit, the longest silent first. Touching costs two steps in a
 * map and no timer, whatever their number; whoever owns a watch asks it some forty times a second.
 */
export class SilenceWatch<Item> {
  readonly #limitNs: number;
  /** Since when each has been silent. A map keeps the order in which its keys came, which is that of their age. */
  readonly #sinceNs = new Map<Item, number>();

  constructor(limitNs: number) {
    this.#limitNs = limitNs;
  }

  touch(item: Item, nowNs: number): void {
    this.#sinceNs.delete(item);
    this.#sinceNs.set(item, nowNs);
  }

  forget(item: Item): void {
    this.#sinceNs.delete(item);
  }

  isOverdue(item: Item, atNs: number): boolean {
    return atNs - (this.#sinceNs.get(item) ?? atNs) >= this.#limitNs;
  }

  /** Those that had been silent for the limit at `atNs`; they are watched no longer. */
  takeOverdue(atNs: number): Item[] {
    const overdue: Item[] = [];
    for (const [item, sinceNs] of this.#sinceNs) {
      if (atNs - sinceNs < this.#limitNs) break;
      overdue.push(item);
      this.#sinceNs.delete(item);
    }
    return overdue;
  }
}
