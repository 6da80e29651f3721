import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SilenceWatch } from '../../../src/replay/http1/silence-watch.ts';

describe('a watch over silence', () => {
  test('gives those that were silent for the limit, the longest first, and each once', () => {
    const watch = new SilenceWatch<string>(100);
    watch.touch('a', 0);
    watch.touch('b', 10);
    watch.touch('c', 20);
    watch.touch('a', 30);
    watch.forget('c');
    expect(watch.takeOverdue(109)).toEqual([]);
    expect(watch.takeOverdue(110)).toEqual(['b']);
    expect(watch.takeOverdue(1_000)).toEqual(['a']);
    expect(watch.takeOverdue(1_000)).toEqual([]);
  });

  test('agrees with a list that is searched, whatever is touched and forgotten when', () => {
    const step = fc.record({
      item: fc.nat(4),
      kind: fc.constantFrom('touch' as const, 'forget' as const, 'take' as const),
      afterNs: fc.nat(60),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const watch = new SilenceWatch<number>(100);
        const sinceNs = new Map<number, number>();
        let nowNs = 0;
        for (const { item, kind, afterNs } of steps) {
          nowNs += afterNs;
          if (kind === 'touch') {
            watch.touch(item, nowNs);
            sinceNs.set(item, nowNs);
          } else if (kind === 'forget') {
            watch.forget(item);
            sinceNs.delete(item);
          } else {
            const overdue = [...sinceNs].filter(([, since]) => nowNs - since >= 100).map(([one]) => one);
            expect(watch.takeOverdue(nowNs).toSorted()).toEqual(overdue.toSorted());
            for (const one of overdue) sinceNs.delete(one);
          }
        }
      }),
    );
  });
});
