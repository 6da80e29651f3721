import { describe, expect, it } from 'vitest';
import { hashOf } from '../../src/core/number-hash.ts';

/** Places looked at for a key, on average, where all of them are in a table of that many slots, at most half full. */
function meanProbes(keys: readonly number[], slots: number): number {
  const mask = slots - 1;
  const taken = new Uint8Array(slots);
  let probes = 0;
  for (const key of keys) {
    let slot = hashOf(key) & mask;
    for (probes += 1; taken[slot] === 1; probes += 1) slot = (slot + 1) & mask;
    taken[slot] = 1;
  }
  return probes / keys.length;
}

function strided(from: number, count: number, stride: number): number[] {
  return Array.from({ length: count }, (_, at) => from + at * stride);
}

/** Half full by chance it is 1.5. */
describe('the hash of a number', () => {
  it.each([1, 2, 4, 8, 16])('spreads windows of what is counted by %d', (stride) => {
    const means: number[] = [];
    for (let from = 0; from < 4e6; from += 3_989) means.push(meanProbes(strided(from, 128, stride), 256));
    expect(means.reduce((sum, mean) => sum + mean, 0) / means.length).toBeLessThan(1.6);
    expect(Math.max(...means)).toBeLessThan(4);
  });

  it('spreads strides of any length', () => {
    const means = strided(1, 4_096, 1).map((stride) => meanProbes(strided(0, 1_024, stride), 2_048));
    expect(Math.max(...means)).toBeLessThan(2.5);
  });

  it.each([31, 32, 33, 36, 40])('spreads multiples of 2^%d', (power) => {
    const count = Math.min(8_192, 2 ** (53 - power));
    expect(meanProbes(strided(0, count, 2 ** power), 2 * count)).toBeLessThan(2);
  });
});
