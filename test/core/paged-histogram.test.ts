import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Histogram, PagedHistogram } from '../../src/core/histogram.ts';

const PERCENTS = [0, 1, 50, 95, 99, 99.9, 100];
/** Values near the edges of steps and doublings, and beyond what is counted apart. */
const value = fc.oneof(
  fc.nat({ max: 3_000 }),
  fc
    .tuple(fc.nat({ max: 52 }), fc.integer({ min: -2, max: 2 }))
    .map(([bits, off]) => Math.max(0, 2 ** bits + off)),
  fc.maxSafeNat(),
);

test('a histogram in pages has the percentiles of a histogram, to the last bit', () => {
  fc.assert(
    fc.property(fc.array(value, { maxLength: 60 }), fc.constantFrom(1, 1, 35, 90), (values, times) => {
      const [paged, whole] = [new PagedHistogram(), new Histogram()];
      for (let time = 0; time < times; time++) {
        for (const each of values) {
          paged.record(each);
          whole.record(each);
        }
      }
      expect(paged.count).toBe(whole.count);
      for (const percent of PERCENTS) expect(paged.percentile(percent)).toBe(whole.percentile(percent));
    }),
    { seed: 5 },
  );
  for (const none of [-1, 0.5]) expect(() => new PagedHistogram().record(none)).toThrow(RangeError);
});
