/** What has an item in a list; in none yet, or in none any more, it has no links. */
export class Entry<Item> {
  readonly item: Item;
  /** These three are the list's to write. */
  list: LinkedList<Item> | null = null;
  next: Entry<Item> | null = null;
  previous: Entry<Item> | null = null;

  constructor(item: Item) {
    this.item = item;
  }
}

/**
 * Items in the order they came, for what comes and goes with requests and connections, in place of a `Set`
 * (`NumberMap` says what is wrong with that). Whoever added an item keeps its entry, which takes it away again
 * without a search.
 *
 * The links of an entry that is removed are cleared, which is the whole point: one that has got into the old
 * generation is gone only at the next full collection, and until then what it points to is kept by every collection
 * of the young one. It must not lead to the entry behind it, and that to the next.
 */
export class LinkedList<Item> {
  #first: Entry<Item> | null = null;
  #last: Entry<Item> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The one that was added first; from it `next` leads to the others, as long as none of them is removed. */
  get first(): Entry<Item> | null {
    return this.#first;
  }

  /** Adds an item at the end. */
  push(item: Item): Entry<Item> {
    const entry = new Entry(item);
    this.append(entry);
    return entry;
  }

  /** Puts an entry at the end: one that was removed, one of this list, or one of another, which it leaves. */
  append(entry: Entry<Item>): void {
    entry.list?.remove(entry);
    entry.list = this;
    entry.previous = this.#last;
    if (this.#last === null) this.#first = entry;
    else this.#last.next = entry;
    this.#last = entry;
    this.#size += 1;
  }

  /** @returns whether it was in this list */
  remove(entry: Entry<Item>): boolean {
    if (entry.list !== this) return false;
    const { previous, next } = entry;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    entry.list = null;
    entry.previous = null;
    entry.next = null;
    this.#size -= 1;
    return true;
  }

  /** Takes the first away. */
  shift(): Item | undefined {
    const entry = this.#first;
    if (entry === null) return undefined;
    this.remove(entry);
    return entry.item;
  }

  /** Those that are here now, in order. It is a copy: the list may be changed in any way while it is walked. */
  items(): Item[] {
    const items: Item[] = [];
    for (let entry = this.#first; entry !== null; entry = entry.next) items.push(entry.item);
    return items;
  }

  /** Walks `items()`. */
  [Symbol.iterator](): Iterator<Item> {
    return this.items()[Symbol.iterator]();
  }
}
