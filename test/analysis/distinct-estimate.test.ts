import { expect, test } from 'vitest';
import { DistinctEstimate } from '../../src/analysis/distinct-estimate.ts';
import { SeededRandom } from '../../src/core/random.ts';

const ROUNDS = 12;

test.each([30_000, 70_000, 200_000])('of %d different things is off by what is said of it', (distinct) => {
  const random = new SeededRandom(distinct);
  const errors = Array.from({ length: ROUNDS }, () => {
    const estimate = new DistinctEstimate();
    for (let at = 0; at < distinct; at += 1) estimate.add(random.nextUint32(), random.nextUint32());
    return estimate.estimate() / distinct - 1;
  });
  expect(Math.sqrt(errors.reduce((sum, error) => sum + error ** 2, 0) / ROUNDS)).toBeLessThan(0.006);
  expect(Math.abs(errors.reduce((sum, error) => sum + error, 0) / ROUNDS)).toBeLessThan(0.003);
});

test('of nothing, and of one thing, are what they are', () => {
  const estimate = new DistinctEstimate();
  expect(estimate.estimate()).toBe(0);
  for (let times = 0; times < 3; times += 1) estimate.add(7, 9);
  expect(estimate.estimate()).toBeCloseTo(1, 3);
});
