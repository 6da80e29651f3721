import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SilenceWatch, Watched } from '../../../src/replay/http1/silence-watch.ts';

class Item {
  readonly name: number;
  readonly watched = new Watched<Item>(this);

  constructor(name: number) {
    this.name = name;
  }
}

function items(count: number): Item[] {
  return Array.from({ length: count }, (_, name) => new Item(name));
}

describe('a watch over silence', () => {
  test('gives those that were silent for the limit, the longest first, and each once', () => {
    const watch = new SilenceWatch<Item>(100);
    const [a, b, c] = items(3) as [Item, Item, Item];
    watch.touch(a, 0);
    watch.touch(b, 10);
    watch.touch(c, 20);
    watch.touch(a, 30);
    watch.forget(c);
    expect(watch.takeOverdue(109)).toEqual([]);
    expect(watch.takeOverdue(110)).toEqual([b]);
    expect(watch.takeOverdue(1_000)).toEqual([a]);
    expect(watch.takeOverdue(1_000)).toEqual([]);
  });

  test('lets go of what is touched under another', () => {
    const [watch, other] = [new SilenceWatch<Item>(100), new SilenceWatch<Item>(100)];
    const [a] = items(1) as [Item];
    watch.touch(a, 0);
    other.touch(a, 10);
    expect([watch.isOverdue(a, 200), other.isOverdue(a, 109), other.isOverdue(a, 110)]).toEqual([
      false,
      false,
      true,
    ]);
    watch.forget(a);
    expect([watch.takeOverdue(200), other.takeOverdue(200)]).toEqual([[], [a]]);
    expect(other.isOverdue(a, 200)).toBe(false);
  });

  test('agrees with a list that is searched, whatever is touched and forgotten when', () => {
    const step = fc.record({
      item: fc.nat(4),
      kind: fc.constantFrom('touch' as const, 'forget' as const, 'take' as const),
      afterNs: fc.nat(60),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const watch = new SilenceWatch<Item>(100);
        const all = items(5);
        const sinceNs = new Map<Item, number>();
        let nowNs = 0;
        for (const { item: name, kind, afterNs } of steps) {
          const item = all[name] as Item;
          nowNs += afterNs;
          if (kind === 'touch') {
            watch.touch(item, nowNs);
            sinceNs.set(item, nowNs);
          } else if (kind === 'forget') {
            watch.forget(item);
            sinceNs.delete(item);
          } else {
            const overdue = [...sinceNs].filter(([, since]) => nowNs - since >= 100).map(([one]) => one);
            const names = (some: readonly Item[]) => some.map(({ name }) => name).toSorted();
            expect(names(watch.takeOverdue(nowNs))).toEqual(names(overdue));
            for (const one of overdue) sinceNs.delete(one);
          }
        }
      }),
    );
  });
});
