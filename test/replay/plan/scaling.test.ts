import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { scalingAt } from '../../support/scalings.ts';

const MULTIPLIERS = [0.1, 0.5, 1, 1.5, 2, 3.7] as const;
const WEEKS_4_US = 4 * 7 * 86_400 * 1e6;
/** Arrivals of a window of up to ten days, which at 0.1 takes a hundred. */
const offsets = fc
  .array(fc.integer({ min: 0, max: 10 * 86_400 * 1e6 }), { minLength: 1, maxLength: 200 })
  .map((all) => all.sort((a, b) => a - b));

describe.each(MULTIPLIERS)('compress at %d', (multiplier) => {
  const scaling = scalingAt(multiplier);

  it('keeps order and ties and scales every offset by 1/m to the nanosecond', () => {
    fc.assert(
      fc.property(offsets, (all) => {
        const planned = all.map((offsetUs) => scaling.offsetNsAt(offsetUs));
        for (const [index, offsetNs] of planned.entries()) {
          const offsetUs = all[index] ?? 0;
          expect(Number.isSafeInteger(offsetNs)).toBe(true);
          // A quotient near 2^53 is itself known to one part in 2^53 only.
          expect(Math.abs(offsetNs - (offsetUs * 1000) / multiplier)).toBeLessThanOrEqual(0.5);
          if (index === 0) continue;
          expect(offsetNs).toBeGreaterThanOrEqual(planned[index - 1] ?? 0);
          if (offsetUs === all[index - 1]) expect(offsetNs).toBe(planned[index - 1]);
        }
      }),
    );
  });

  it('does not drift: a microsecond stays apart after four weeks', () => {
    const before = scaling.offsetNsAt(WEEKS_4_US - 1);
    const after = scaling.offsetNsAt(WEEKS_4_US);
    expect(Math.abs(after - before - 1000 / multiplier)).toBeLessThanOrEqual(4);
  });
});

describe('compress', () => {
  it('leaves the recording as it is at 1', () => {
    expect(scalingAt(1).offsetNsAt(1_234_567)).toBe(1_234_567_000);
  });
});
