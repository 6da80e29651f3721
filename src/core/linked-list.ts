/** An item's place in a list, or where it was in none yet or is in none any more. */
export class Link<Item> {
  readonly item: Item;
  /** These three are the list's to write. */
  list: LinkedList<Item> | null = null;
  next: Link<Item> | null = null;
  previous: Link<Item> | null = null;

  constructor(item: Item) {
    this.item = item;
  }
}

/**
 * Items in the order they came, for what comes and goes with requests and connections, in place of a `Set`
 * (`NumberMap` says what is wrong with that). Whoever added an item keeps its link, which takes it away again
 * without a search.
 *
 * The links of an entry that is removed are cleared, which is the whole point: one that has got into the old
 * generation is gone only at the next full collection, and until then what it points to is kept by every collection
 * of the young one. It must not lead to the entry behind it, and that to the next.
 */
export class LinkedList<Item> {
  #first: Link<Item> | null = null;
  #last: Link<Item> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The one that was added first; from it `next` leads to the others, as long as none of them is removed. */
  get first(): Link<Item> | null {
    return this.#first;
  }

  /** Adds an item at the end. */
  push(item: Item): Link<Item> {
    const link = new Link(item);
    this.append(link);
    return link;
  }

  /** Puts a link at the end: one that was removed, one of this list, or one of another, which it leaves. */
  append(link: Link<Item>): void {
    link.list?.remove(link);
    link.list = this;
    link.previous = this.#last;
    if (this.#last === null) this.#first = link;
    else this.#last.next = link;
    this.#last = link;
    this.#size += 1;
  }

  /** @returns whether it was in this list */
  remove(link: Link<Item>): boolean {
    if (link.list !== this) return false;
    const { previous, next } = link;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    link.list = null;
    link.previous = null;
    link.next = null;
    this.#size -= 1;
    return true;
  }

  /** Takes the first away. */
  shift(): Item | undefined {
    const link = this.#first;
    if (link === null) return undefined;
    this.remove(link);
    return link.item;
  }

  /** Those that are here now, in order. It is a copy: the list may be changed in any way while it is walked. */
  items(): Item[] {
    const items: Item[] = [];
    for (let link = this.#first; link !== null; link = link.next) items.push(link.item);
    return items;
  }

  /** Walks `items()`. */
  [Symbol.iterator](): Iterator<Item> {
    return this.items()[Symbol.iterator]();
  }
}
