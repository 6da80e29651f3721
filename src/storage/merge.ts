/** One of the sequences that are merged; its items come in the order of their keys. */
export interface MergeSource<T> {
  /** Not above the key of any of its items. */
  readonly firstKey: number;
  /** Called when the merge reaches `firstKey`, not before. */
  readonly open: () => Iterator<T>;
}

interface Head<T> {
  readonly rank: number;
  readonly items: Iterator<T>;
  item: T;
  key: number;
}

/**
 * Merges sequences into one, in the order of keys; where keys are equal, in the order the sources were given.
 * Holds one item of each source it has reached, and none of the others.
 */
export function* mergeInOrder<T>(
  sources: readonly MergeSource<T>[],
  keyOf: (item: T) => number,
): Generator<T, void, undefined> {
  const waiting = sources
    .map((source, rank) => ({ source, rank }))
    .sort((a, b) => a.source.firstKey - b.source.firstKey);
  const heads = new HeadHeap<T>();
  let next = 0;
  try {
    for (;;) {
      const least = heads.least();
      const entering = waiting[next];
      if (entering !== undefined && (least === null || entering.source.firstKey <= least.key)) {
        next += 1;
        const items = entering.source.open();
        const first = items.next();
        if (!first.done)
          heads.push({ rank: entering.rank, items, item: first.value, key: keyOf(first.value) });
        continue;
      }
      if (least === null) return;
      yield least.item;
      const following = least.items.next();
      if (following.done) heads.removeLeast();
      else {
        least.item = following.value;
        least.key = keyOf(following.value);
        heads.leastGrew();
      }
    }
  } finally {
    // Whatever ended this early: what is still open would keep its source from being closed.
    heads.end();
  }
}

/** A binary heap of the sources that are open, by (key, rank). */
class HeadHeap<T> {
  readonly #heads: Head<T>[] = [];

  least(): Head<T> | null {
    return this.#heads[0] ?? null;
  }

  push(head: Head<T>): void {
    const heads = this.#heads;
    let place = heads.push(head) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!isBefore(heads[place], heads[parent])) return;
      this.#swap(place, parent);
      place = parent;
    }
  }

  removeLeast(): void {
    const last = this.#heads.pop();
    if (last === undefined || this.#heads.length === 0) return;
    this.#heads[0] = last;
    this.leastGrew();
  }

  /** Ends whatever is still open. */
  end(): void {
    for (const { items } of this.#heads) items.return?.();
  }

  /** Puts the head whose key has grown back in its place. */
  leastGrew(): void {
    const heads = this.#heads;
    let place = 0;
    for (;;) {
      let least = place;
      for (let child = 2 * place + 1; child <= 2 * place + 2 && child < heads.length; child += 1) {
        if (isBefore(heads[child], heads[least])) least = child;
      }
      if (least === place) return;
      this.#swap(place, least);
      place = least;
    }
  }

  #swap(a: number, b: number): void {
    const heads = this.#heads;
    const held = heads[a];
    const other = heads[b];
    if (held === undefined || other === undefined) return;
    heads[a] = other;
    heads[b] = held;
  }
}

function isBefore<T>(a: Head<T> | undefined, b: Head<T> | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return a.key === b.key ? a.rank < b.rank : a.key < b.key;
}
