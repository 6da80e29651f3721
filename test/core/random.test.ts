import { expect, test } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';

function draws(seed: number, count: number): number[] {
  const random = new SeededRandom(seed);
  return Array.from({ length: count }, () => random.nextUint32());
}

/** The reference algorithm of xoshiro128** 1.1, written a second time with 64-bit integers. */
function* reference(state: bigint[]): Generator<bigint> {
  const mask = 0xffff_ffffn;
  const rotate = (x: bigint, k: bigint) => ((x << k) | (x >> (32n - k))) & mask;
  let [a = 0n, b = 0n, c = 0n, d = 0n] = state;
  for (;;) {
    yield (rotate((b * 5n) & mask, 7n) * 9n) & mask;
    const shifted = (b << 9n) & mask;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = rotate(d, 11n);
  }
}

function* splitmix(seed: bigint): Generator<bigint> {
  const mask = 0xffff_ffffn;
  let state = seed;
  for (;;) {
    state = (state + 0x9e3779b9n) & mask;
    let mixed = ((state ^ (state >> 16n)) * 0x21f0aaadn) & mask;
    mixed = ((mixed ^ (mixed >> 15n)) * 0x735a2d97n) & mask;
    yield mixed ^ (mixed >> 15n);
  }
}

test.each([0, 1, 42, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1])(
  'seed %d gives the numbers of the algorithm',
  (seed) => {
    const low = splitmix(BigInt(seed) & 0xffff_ffffn);
    const high = splitmix(BigInt(seed) >> 32n);
    const next = (source: Generator<bigint>): bigint => source.next().value as bigint;
    const a = next(low);
    const b = next(low) ^ next(high);
    const c = next(low);
    const d = next(low) ^ next(high);
    const expected = reference([a, b, c, d]);
    expect(draws(seed, 50)).toEqual(Array.from({ length: 50 }, () => Number(expected.next().value)));
  },
);

test('neighbouring seeds, and seeds that differ above 32 bits only, have nothing in common', () => {
  const sequences = [1, 2, 3, 1 + 2 ** 32, 1 + 2 ** 33].map((seed) => draws(seed, 8));
  expect(new Set(sequences.flat()).size).toBe(40);
});

test('draws below a bound reach every value about equally often', () => {
  const random = new SeededRandom(7);
  const counts = [0, 0, 0, 0, 0, 0, 0];
  for (let draw = 0; draw < 70_000; draw += 1) {
    const value = random.below(7);
    counts[value] = (counts[value] ?? 0) + 1;
  }
  // Five standard deviations of a binomial count of 10,000.
  for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(465);
});

test('a bound of 1 always gives 0', () => {
  const random = new SeededRandom(3);
  expect([random.below(1), random.below(1)]).toEqual([0, 0]);
});
