import { expect, test } from 'vitest';
import { lowerShare } from '../../../src/analysis/stats/percentiles.ts';

// Clopper and Pearson, of 95 % on two sides: quantiles of the beta distribution, as R's binom.test has them.
test.each([
  [0, 10, 0],
  [1, 20, 0.001265],
  [5, 100, 0.016432],
  [95, 100, 0.887165],
])('of %i in %i a share is bounded from below, small or large', (having, samples, least) => {
  expect(lowerShare(having / samples, 0.975, samples)).toBeCloseTo(least, 5);
});
