import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseStages, RateCurve, type Stage } from '../../../src/replay/plan/stages.ts';

const stage: fc.Arbitrary<Stage> = fc.record({
  durationMs: fc.integer({ min: 1, max: 600_000 }),
  from: fc.constantFrom(0.1, 0.5, 1, 1.5, 2, 4),
  to: fc.constantFrom(0.1, 0.5, 1, 1.5, 2, 4),
});
const stages = fc.array(stage, { minLength: 1, maxLength: 8 });

/** The integral by summing thin slices, which are exact at their middle for straight lines. */
function summed(all: readonly Stage[], offsetNs: number): number {
  let played = 0;
  let left = offsetNs;
  for (const { durationMs, from, to } of all) {
    const spanNs = Math.min(left, durationMs * 1e6);
    const slices = 64;
    for (let slice = 0; slice < slices; slice += 1) {
      const middle = ((slice + 0.5) / slices) * spanNs;
      played += (spanNs / slices) * (from + ((to - from) * middle) / (durationMs * 1e6));
    }
    left -= spanNs;
  }
  return played;
}

describe('RateCurve', () => {
  it('plays the integral of the rate, and finds the instant of every arrival in it', () => {
    fc.assert(
      fc.property(stages, fc.double({ min: 0, max: 1, noNaN: true }), (all, share) => {
        const curve = new RateCurve(1, all);
        const offsetNs = curve.durationNs * share;
        const playedNs = curve.playedAt(offsetNs);
        expect(Math.abs(playedNs - summed(all, offsetNs))).toBeLessThan(1e-6 * curve.playedNs + 1);
        expect(Math.abs(curve.offsetNsAt(playedNs) - offsetNs)).toBeLessThan(20);
        expect(curve.playedAt(curve.durationNs)).toBeCloseTo(curve.playedNs, -1);
      }),
    );
  });

  it('never turns round: later in the recording is later in the run, past the last stage too', () => {
    fc.assert(
      fc.property(stages, fc.array(fc.double({ min: 0, max: 1.5, noNaN: true })), (all, shares) => {
        const curve = new RateCurve(1, all);
        const offsets = shares.sort((a, b) => a - b).map((share) => curve.offsetNsAt(curve.playedNs * share));
        for (const [at, offset] of offsets.entries())
          expect(offset).toBeGreaterThanOrEqual(offsets[at - 1] ?? 0);
      }),
    );
  });

  it('is the multiplier throughout where there are no stages, and multiplies them where there are', () => {
    const throughout = new RateCurve(2, null);
    expect(throughout).toMatchObject({
      constant: true,
      min: 2,
      max: 2,
      durationNs: Number.POSITIVE_INFINITY,
    });
    expect(throughout.offsetNsAt(3_000_001)).toBe(1_500_001);
    const staged = new RateCurve(2, parseStages('10s@1x,5s@1x..3x'));
    expect(staged).toMatchObject({ constant: false, min: 2, max: 6, durationNs: 15e9, playedNs: 40e9 });
    expect(staged.multiplierAt(12.5e9)).toBe(4);
  });
});

describe('parseStages', () => {
  it('reads steps and ramps', () => {
    expect(parseStages('10m@1x,5m@1x..2x, 30s@4')).toEqual([
      { durationMs: 600_000, from: 1, to: 1 },
      { durationMs: 300_000, from: 1, to: 2 },
      { durationMs: 30_000, from: 4, to: 4 },
    ]);
  });

  it.each([
    '',
    '10m',
    '@1x',
    '10m@',
    '10m@0x',
    '0s@1x',
    '10m@1x..',
    '10m@1x..2x..3x',
    '10m@1x@2x',
    '10@1x',
    '1m@1x,',
  ])('refuses %j', (text) => {
    expect(() => parseStages(text)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }));
  });
});
