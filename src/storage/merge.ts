/** One of the sequences that are merged; its items come in the order of their keys. */
export interface MergeSource<T> {
  /** Not above the key of any of its items. */
  readonly firstKey: number;
  /** Called when the merge reaches `firstKey`, not before. */
  readonly open: () => Iterator<T>;
}

/** A source that was opened, and its next item. */
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
  const heads = new Set<Head<T>>();
  let next = 0;
  try {
    for (;;) {
      // Few sources overlap (one a recorder), so all of them are looked at.
      const least = leastOf(heads);
      const entering = waiting[next];
      if (entering !== undefined && (least === null || entering.source.firstKey <= least.key)) {
        next += 1;
        const items = entering.source.open();
        const { done, value } = items.next();
        if (!done) heads.add({ rank: entering.rank, items, item: value, key: keyOf(value) });
        continue;
      }
      if (least === null) return;
      yield least.item;
      const { done, value } = least.items.next();
      if (done) heads.delete(least);
      else {
        least.item = value;
        least.key = keyOf(value);
      }
    }
  } finally {
    // Whatever ended this early: what is still open would keep its source from being closed.
    for (const { items } of heads) items.return?.();
  }
}

function leastOf<T>(heads: ReadonlySet<Head<T>>): Head<T> | null {
  let least: Head<T> | null = null;
  for (const head of heads) {
    if (least === null || head.key < least.key || (head.key === least.key && head.rank < least.rank))
      least = head;
  }
  return least;
}
