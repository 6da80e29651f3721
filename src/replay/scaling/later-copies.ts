/** Something that waits for its place in an order. */
interface Placed {
  readonly offsetUs: number;
}

/** Copies that are drawn ahead of their time: a heap by offset, equal ones in the order they came in. */
export class LaterCopies<T extends Placed> {
  readonly #heap: { readonly item: T; readonly ticket: number }[] = [];
  #tickets = 0;

  add(item: T): void {
    const entry = { item, ticket: this.#tickets };
    this.#tickets += 1;
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  /** Takes the first whose offset lies before `offsetUs`; null where there is none. */
  takeBefore(offsetUs: number): T | null {
    const first = this.#heap[0];
    if (first === undefined || first.item.offsetUs >= offsetUs) return null;
    const last = this.#heap.pop()!;
    if (this.#heap.length > 0) this.#sink(last);
    return first.item;
  }

  #sink(entry: { readonly item: T; readonly ticket: number }): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, entry)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = entry;
  }
}

function isBefore(
  a: { readonly item: Placed; readonly ticket: number },
  b: { readonly item: Placed; readonly ticket: number },
): boolean {
  return (
    a.item.offsetUs - b.item.offsetUs < 0 || (a.item.offsetUs === b.item.offsetUs && a.ticket < b.ticket)
  );
}
