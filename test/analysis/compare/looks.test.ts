import { expect, test } from 'vitest';
import {
  halfWidth,
  jointQuantile,
  sameQuantile,
  spreadsOver,
} from '../../../src/analysis/compare/intervals.ts';
import { SeededRandom } from '../../../src/core/random.ts';

const LOOKS = [4, 8, 16];
const SEQUENCES = 2_000;

/** Logarithms of a percentile of each run, normal by the sum of twelve uniform draws. */
function drawn(random: SeededRandom, mean: number): number[] {
  const normal = () =>
    Array.from({ length: 12 }, () => random.nextUint32() / 2 ** 32).reduce((sum, each) => sum + each, -6);
  return Array.from({ length: LOOKS.at(-1)! }, () => mean + 0.1 * normal());
}

/** How often a sequence of looks that stops at the first decision calls B worse, and how often the same. */
function decided(difference: number) {
  const random = new SeededRandom(20261202);
  const found = { worse: 0, same: 0 };
  for (let at = 0; at < SEQUENCES; at += 1) {
    const [a, b] = [drawn(random, 0), drawn(random, difference)];
    for (const runs of LOOKS) {
      const cut = { ends: Array.from({ length: runs }, (_, run) => run + 1), isByRun: true };
      const spreads = spreadsOver(cut, () => ({ a: a.slice(0, runs), b: b.slice(0, runs) }));
      const { mean } = spreads[0]!;
      const looks = { looks: LOOKS.length };
      if (mean - halfWidth(cut, spreads, jointQuantile(1, looks)) > 0) found.worse += 1;
      else if (mean + halfWidth(cut, spreads, sameQuantile(looks)) < Math.log(1.1)) found.same += 1;
      else continue;
      break;
    }
  }
  return found;
}

test('who compares after each doubling calls an equal build worse in at most 1 % of 2,000 draws', () => {
  expect(decided(0).worse).toBeLessThanOrEqual(0.01 * SEQUENCES);
});

test('and a build that is slower by the change to detect is called the same in at most 5 %', () => {
  const { worse, same } = decided(Math.log(1.1));
  expect(same).toBeLessThanOrEqual(0.05 * SEQUENCES);
  expect(worse).toBeGreaterThan(0);
});

test('one look has the quantiles of a single comparison', () => {
  expect(jointQuantile(1, {})).toBeCloseTo(0.995, 12);
  expect(sameQuantile({})).toBeCloseTo(0.95, 12);
  expect(jointQuantile(2, { looks: 5 })).toBeCloseTo(1 - 0.001 / 2, 12);
});
