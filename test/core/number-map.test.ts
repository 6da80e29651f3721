import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NumberMap } from '../../src/core/number-map.ts';

/** Few enough to meet again, near each other and far apart. */
const key = fc.oneof(
  fc.nat(40),
  fc.nat(40).map((number) => number * 2 ** 32),
  fc.nat(40).map((number) => Number.MAX_SAFE_INTEGER - number),
  fc.nat(40).map((number) => 2 ** 31 - 20 + number),
);

const step = fc.oneof(
  { weight: 50, arbitrary: fc.record({ kind: fc.constant('set' as const), key }) },
  { weight: 40, arbitrary: fc.record({ kind: fc.constant('delete' as const), key }) },
  { weight: 10, arbitrary: fc.record({ kind: fc.constant('get' as const), key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear' as const), key }) },
);

function sorted(values: Iterable<number>): number[] {
  return [...values].sort((a, b) => a - b);
}

describe('a number map', () => {
  it('holds what a Map holds, whatever comes and goes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400, size: 'max' }), (steps) => {
        const map = new NumberMap<number>();
        const model = new Map<number, number>();
        const met = new Set<number>();
        for (const [at, { kind, key }] of steps.entries()) {
          met.add(key);
          if (kind === 'set') {
            map.set(key, at);
            model.set(key, at);
          } else if (kind === 'delete') expect(map.delete(key)).toBe(model.delete(key));
          else if (kind === 'clear') {
            map.clear();
            model.clear();
          }
          expect(map.get(key)).toBe(model.get(key));
          expect(map.has(key)).toBe(model.has(key));
          expect(map.size).toBe(model.size);
        }
        for (const each of met) expect(map.get(each)).toBe(model.get(each));
        expect(sorted(map.values())).toEqual(sorted(model.values()));
      }),
    );
  });

  it('finds all of thousands, which removals between them have moved', () => {
    const map = new NumberMap<number>();
    for (let key = 0; key < 20_000; key += 1) map.set(key * 1_000_003, key);
    for (let key = 0; key < 20_000; key += 3) expect(map.delete(key * 1_000_003)).toBe(true);
    for (let key = 0; key < 20_000; key += 1)
      expect(map.get(key * 1_000_003)).toBe(key % 3 === 0 ? undefined : key);
  });

  it('holds what is left, and what comes again, when most of many have gone', () => {
    const map = new NumberMap<number>();
    const model = new Map<number, number>();
    for (const most of [20_000, 3_000, 40_000]) {
      for (let key = 0; key < most; key += 1) {
        map.set(key * 1_000_003, key);
        model.set(key * 1_000_003, key);
      }
      for (let key = 0; key < most; key += 1) {
        if (key % 997 === 0) continue;
        expect(map.delete(key * 1_000_003)).toBe(model.delete(key * 1_000_003));
      }
      expect(map.size).toBe(model.size);
      expect(sorted(map.values())).toEqual(sorted(model.values()));
      for (const [key, value] of model) expect(map.get(key)).toBe(value);
    }
  });

  it('is as quick for numbers that differ in their upper half alone', () => {
    const map = new NumberMap<number>();
    const startedMs = performance.now();
    for (let key = 0; key < 20_000; key += 1) map.set(key * 2 ** 33, key);
    for (let key = 0; key < 20_000; key += 1) expect(map.get(key * 2 ** 33)).toBe(key);
    // Each behind all others that hash to the same would take minutes.
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });

  it('may be changed in any way while its values are walked: they are those that were there', () => {
    const map = new NumberMap<number>();
    for (let key = 0; key < 100; key += 1) map.set(key, key);
    const walked: number[] = [];
    for (const value of map.values()) {
      walked.push(value);
      map.delete(value);
      map.delete(99 - value);
      map.set(1_000 + value, value);
    }
    expect(sorted(walked)).toEqual(Array.from({ length: 100 }, (_, at) => at));
    expect(map.size).toBe(100);
  });

  it('tells a value that is undefined from none', () => {
    const map = new NumberMap<undefined>().set(1, undefined);
    expect([map.has(1), map.has(2), map.size]).toEqual([true, false, 1]);
  });

  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])(
    'refuses %s as a key, and has it not',
    (key) => {
      const map = new NumberMap<string>().set(0, 'zero');
      expect(() => map.set(key, 'one')).toThrow(RangeError);
      expect([map.get(key), map.has(key), map.delete(key), map.size]).toEqual([undefined, false, false, 1]);
    },
  );
});
