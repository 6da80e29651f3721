import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type DiskObservation, estimateDisk, estimateText } from '../../src/core/disk-estimate.ts';

const GIB = 2 ** 30;
const DAY_MS = 86_400_000;

const observation: fc.Arbitrary<DiskObservation> = fc.record({
  seconds: fc.double({ min: 1, max: 1e6, noNaN: true }),
  exchanges: fc.integer({ min: 1, max: 1e9 }),
  storedBytes: fc.integer({ min: 1, max: 1e12 }),
  maxDiskBytes: fc.integer({ min: 16 * 2 ** 20, max: 100 * 2 ** 40 }),
  retainMs: fc.option(fc.integer({ min: 3_600_000, max: 400 * DAY_MS }), { nil: null }),
});

describe('the estimate of disk', () => {
  it('is what a minute of traffic comes to', () => {
    // 100/s of 600 bytes: 216 MB an hour, and the segment's own.
    const estimate = estimateDisk({
      seconds: 60,
      exchanges: 6_000,
      storedBytes: 3_600_000,
      maxDiskBytes: 10 * GIB,
      retainMs: 28 * DAY_MS,
    });
    expect(estimate).toMatchObject({
      ratePerSecond: 100,
      bytesPerExchange: 600,
      bytesPerHour: 216_000_000 + 24 * 1024,
      retainFits: false,
    });
    expect((estimate.quotaHoldsMs ?? 0) / DAY_MS).toBeCloseTo(2.07, 2);
    expect((estimate.retainNeedsBytes ?? 0) / GIB).toBeCloseTo(135.6, 1);
    expect(estimateText(estimate)).toBe(
      'At 100 exchanges/s of 600 B, 10.0 GiB last 2.1 days; --retain 28 days needs 135.6 GiB.',
    );
  });

  it('says when all that is to be kept fits, and leaves out what was not asked', () => {
    const quiet = { seconds: 60, exchanges: 6, storedBytes: 6_000, maxDiskBytes: 10 * GIB };
    expect(estimateText(estimateDisk({ ...quiet, retainMs: 28 * DAY_MS }))).toBe(
      'At 0.10 exchanges/s of 1000 B, 10.0 GiB last 3.2 years; --retain 28 days needs 247.2 MiB, which fits.',
    );
    expect(estimateText(estimateDisk({ ...quiet, retainMs: null }))).not.toContain('--retain');
  });

  it('claims nothing when nothing was recorded', () => {
    const idle = estimateDisk({
      seconds: 60,
      exchanges: 0,
      storedBytes: 0,
      maxDiskBytes: GIB,
      retainMs: DAY_MS,
    });
    expect(idle).toMatchObject({ bytesPerExchange: null, quotaHoldsMs: null, retainNeedsBytes: 0 });
    expect(estimateText(idle)).toBe(
      'Nothing was recorded in 1 minutes, so how long the disk lasts is unknown.',
    );
    expect(estimateText(estimateDisk({ ...idle, storedBytes: 0, seconds: 0 }))).toMatch(/^Nothing/);
  });

  it('does not say that nothing was recorded where the disk did not grow for it', () => {
    const quiet = estimateDisk({
      seconds: 60,
      exchanges: 4,
      storedBytes: 0,
      maxDiskBytes: GIB,
      retainMs: null,
    });
    expect(quiet).toMatchObject({ exchanges: 4, quotaHoldsMs: null });
    expect(estimateText(quiet)).toBe(
      'Too little was recorded in 1 minutes to say how long the disk lasts: exchanges 4, and the disk did not grow.',
    );
  });

  it('holds together for any traffic: parts add up, more lasts shorter, text has no nonsense', () => {
    fc.assert(
      fc.property(observation, (seen) => {
        const estimate = estimateDisk(seen);
        const { bytesPerHour, bytesPerDay, bytesPer14Days, bytesPer28Days } = estimate;
        expect(bytesPerHour).toBeGreaterThanOrEqual((seen.storedBytes / seen.seconds) * 3_600);
        expect(Math.abs(bytesPerDay - 24 * bytesPerHour)).toBeLessThanOrEqual(25);
        expect(Math.abs(bytesPer28Days - 2 * bytesPer14Days)).toBeLessThanOrEqual(2);
        // What the quota holds is what fills it.
        const filled = ((estimate.quotaHoldsMs ?? 0) / 3_600_000) * bytesPerHour;
        expect(Math.abs(filled / seen.maxDiskBytes - 1)).toBeLessThan(1e-3);
        const twice = estimateDisk({ ...seen, storedBytes: seen.storedBytes * 2 });
        expect(twice.quotaHoldsMs ?? 0).toBeLessThan(estimate.quotaHoldsMs ?? 0);
        if (seen.retainMs !== null) {
          const fits = (estimate.quotaHoldsMs ?? 0) >= seen.retainMs + 7_200_000;
          expect(
            estimate.retainFits === fits || Math.abs(filled / (estimate.retainNeedsBytes ?? 1) - 1) < 1e-3,
          ).toBe(true);
        }
        expect(estimateText(estimate)).toMatch(
          /^At [\d.e+]+ exchanges\/s of [\d.]+ \w+, [\d.]+ \w+ last [\d.]+ \w+/,
        );
      }),
    );
  });
});
