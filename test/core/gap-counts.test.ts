import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addGaps, GapCounts } from '../../src/core/gap-counts.ts';
import { Histogram, nearestRank } from '../../src/core/histogram.ts';

const gap = fc.oneof(fc.nat(5_000), fc.nat(50e6), fc.nat(300e9), fc.constant(0));

function bytesOf(gapsNs: readonly number[]): Uint8Array | null {
  const counts = new GapCounts();
  for (const gapNs of gapsNs) counts.add(gapNs);
  return counts.toBytes();
}

describe('the gaps of a stream', () => {
  it('give percentiles that are never below the true ones, and hardly above', () => {
    fc.assert(
      fc.property(fc.array(fc.array(gap, { minLength: 1 }), { minLength: 1, maxLength: 5 }), (streams) => {
        const histogram = new Histogram();
        for (const gaps of streams) addGaps(bytesOf(gaps) ?? new Uint8Array(0), histogram);
        const all = streams.flat().sort((a, b) => a - b);
        expect(histogram.count).toBe(all.length);
        for (const percent of [1, 50, 90, 99, 100]) {
          const truth = all[nearestRank(percent, all.length) - 1] ?? 0;
          const told = histogram.percentile(percent) ?? -1;
          expect(told).toBeGreaterThanOrEqual(truth);
          expect(told).toBeLessThanOrEqual(truth * (1 + 1 / 256) * (1 + 1 / 1024) + 2_000);
        }
      }),
    );
  });

  it('know the longest exactly, and how many there are', () => {
    const counts = new GapCounts();
    for (const gapNs of [20_000_123, 4, 999_999_999_999]) counts.add(gapNs);
    expect([counts.count, counts.maxNs]).toEqual([3, 999_999_999_999]);
  });

  it('take some hundred bytes, however long the stream', () => {
    const gapsNs = Array.from({ length: 10_000 }, (_, at) => 18e6 + ((at * 7919) % 5_000) * 1_000);
    expect(bytesOf(gapsNs)?.length).toBeLessThan(500);
  });

  it('of a stream without a second token are none', () => {
    const counts = new GapCounts();
    expect([counts.toBytes(), counts.maxNs]).toEqual([null, null]);
  });

  it('are refused where they are cut', () => {
    expect(() => addGaps(Uint8Array.of(1), new Histogram())).toThrow(RangeError);
    expect(() => addGaps(Uint8Array.of(0x80), new Histogram())).toThrow(RangeError);
  });
});
