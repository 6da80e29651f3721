import { Entry, LinkedList } from '../../core/linked-list.ts';

/** Since when something has been silent, and its entry among the others under the same watch. */
export class Watched<Item> extends Entry<Item> {
  sinceNs = 0;
}

/** It has what is watched of it itself, so that nothing is made and looked up for a touch; it is under one watch at a time. */
export interface Watchable<Item> {
  readonly watched: Watched<Item>;
}

/**
 * Things that must not be silent for longer than one limit, the longest silent first. A touch puts one at the end of
 * a list and needs no timer, whatever their number; whoever owns a watch asks it some forty times a second.
 */
export class SilenceWatch<Item extends Watchable<Item>> {
  readonly #limitNs: number;
  /** In the order in which they were touched, which is that of their age. */
  readonly #silent = new LinkedList<Item>();

  constructor(limitNs: number) {
    this.#limitNs = limitNs;
  }

  /** From here it is under this watch, and under no other. */
  touch({ watched }: Item, nowNs: number): void {
    watched.sinceNs = nowNs;
    this.#silent.append(watched);
  }

  forget({ watched }: Item): void {
    this.#silent.remove(watched);
  }

  isOverdue({ watched }: Item, atNs: number): boolean {
    return watched.list === this.#silent && atNs - watched.sinceNs >= this.#limitNs;
  }

  /** Those that had been silent for the limit at `atNs`; they are watched no longer. */
  takeOverdue(atNs: number): Item[] {
    const overdue: Item[] = [];
    for (let next = this.#silent.first; next !== null; next = this.#silent.first) {
      const { item } = next;
      if (!this.isOverdue(item, atNs)) break;
      overdue.push(item);
      this.forget(item);
    }
    return overdue;
  }
}
