import { Link, LinkedList } from '../../core/linked-list.ts';

/** Since when something has been silent, and its place among the others under the same watch. */
export class Silence<Item> extends Link<Item> {
  sinceNs = 0;
}

/** It holds its silence itself, so that nothing is made and looked up for a touch; it is under one watch at a time. */
export interface Silent<Item> {
  readonly silence: Silence<Item>;
}

/**
 * Things that must not be silent for longer than one limit, the longest silent first. A touch puts one at the end of
 * a list and needs no timer, whatever their number; whoever owns a watch asks it some forty times a second.
 */
export class SilenceWatch<Item extends Silent<Item>> {
  readonly #limitNs: number;
  /** In the order in which they were touched, which is that of their age. */
  readonly #silent = new LinkedList<Item>();

  constructor(limitNs: number) {
    this.#limitNs = limitNs;
  }

  /** From here it is under this watch, and under no other. */
  touch({ silence }: Item, nowNs: number): void {
    silence.sinceNs = nowNs;
    this.#silent.append(silence);
  }

  forget({ silence }: Item): void {
    this.#silent.remove(silence);
  }

  isOverdue({ silence }: Item, atNs: number): boolean {
    return silence.list === this.#silent && atNs - silence.sinceNs >= this.#limitNs;
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
