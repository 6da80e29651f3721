import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StretchSet } from '../../src/analysis/stretch-set.ts';

const stretches = fc
  .array(fc.tuple(fc.nat(100), fc.nat(20)), { maxLength: 12 })
  .map((pairs) => pairs.map(([from, length]) => ({ fromOffsetNs: from, toOffsetNs: from + length })));

describe('StretchSet', () => {
  test('holds exactly the instants of its stretches, overlapping or not, and counts each once', () => {
    fc.assert(
      fc.property(stretches, (all) => {
        const set = new StretchSet(all);
        const covered = Array.from({ length: 130 }, (_, at) =>
          all.some(({ fromOffsetNs, toOffsetNs }) => fromOffsetNs <= at && at < toOffsetNs),
        );
        expect(covered.map((_, at) => set.has(at))).toEqual(covered);
        expect(set.totalNs).toBe(covered.filter(Boolean).length);
      }),
    );
  });

  test('takes stretches that touch for one', () => {
    const set = new StretchSet([
      { fromOffsetNs: 10, toOffsetNs: 20 },
      { fromOffsetNs: 0, toOffsetNs: 10 },
      { fromOffsetNs: 30, toOffsetNs: 35 },
    ]);
    expect([set.longestNs, set.totalNs]).toEqual([20, 25]);
    expect(new StretchSet([]).longestNs).toBe(0);
  });
});
