/** Something that stands in a roster, and knows where; -1 while it stands in none. */
export interface Enrolled {
  place: number;
}

/**
 * What comes and goes by the thousand a second, in no order, in place of a `Set` (`NumberMap` says what is wrong with
 * that). Nothing is made for an item that comes, which has to have its place itself, and so may stand in one roster
 * only: where that, or the order, will not do there is the `LinkedList`.
 */
export class Roster<Item extends Enrolled> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(item: Item): void {
    if (this.#items[item.place] === item) return;
    item.place = this.#items.length;
    this.#items.push(item);
  }

  /** The last one takes its place. */
  remove(item: Item): void {
    if (this.#items[item.place] !== item) return;
    const last = this.#items.pop() as Item;
    if (last !== item) {
      this.#items[item.place] = last;
      last.place = item.place;
    }
    item.place = -1;
  }

  /** One that fits; all may have to be asked. */
  find(fits: (item: Item) => boolean): Item | undefined {
    return this.#items.find(fits);
  }

  /** Calls with each; whichever it is called with may leave meanwhile, and so may others. */
  each(call: (item: Item) => void): void {
    for (const item of [...this.#items]) if (item.place >= 0) call(item);
  }
}
