import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { spreadOfRuns } from '../../../src/analysis/compare/intervals.ts';
import { comparePairs } from '../../../src/analysis/compare/judge.ts';
import { joinedPairs, type PairedAnswers } from '../../../src/analysis/compare/pairs.ts';
import { answeredPairs, repeatedPairs, repeatedVerdictsOf, routed } from '../../support/compared-pairs.ts';
import { repeated } from '../../support/long-form.ts';

/** Drawn by seed: the counts are the same on every machine. test/scale/compare.test.ts has more of them. */
const DRAWS = repeated(40, 100);
const NOISY = { requests: 400, executors: 4, load: 0.5, service: 'steady', share: 0.05 } as const;

describe('with a machine that is slower in some runs by 5 %', () => {
  test('one run of each side called the same build worse or better', () => {
    const parts = { ...NOISY, requests: 1_000, noise: 'independent', runs: 1, slowdown: 1 } as const;
    const one = repeatedVerdictsOf(DRAWS, parts);
    expect(one.WORSE + one.BETTER).toBeGreaterThan(0.05 * DRAWS);
  });

  test.each(['independent', 'wandering'] as const)(
    'five repeats of A, B, B, A do not, and see a build that is a tenth slower: %s',
    (noise) => {
      const same = repeatedVerdictsOf(DRAWS, { ...NOISY, noise, runs: 10, slowdown: 1 });
      expect(same.WORSE + same.BETTER).toBeLessThanOrEqual(0.01 * DRAWS);
      const slower = repeatedVerdictsOf(DRAWS, { ...NOISY, noise, runs: 10, slowdown: 1.1 });
      expect(slower.WORSE).toBeGreaterThanOrEqual(0.8 * DRAWS);
      expect(slower.BETTER).toBe(0);
    },
  );
});

describe('several runs of each side', () => {
  test('have the noise of runs of one build, whatever the order of their rows', () => {
    const pairs = repeatedPairs({ ...NOISY, noise: 'independent', runs: 10, slowdown: 1 }, 1);
    const [p50] = comparePairs(pairs).metrics;
    expect(p50).toMatchObject({ name: 'latency_p50', windows: 10, pairs: 4_000 });
    expect(p50?.noise).toBeGreaterThan(0.03);
    expect(p50?.noise).toBeLessThan(0.08);
  });

  test('say how many runs would tell', () => {
    const pairs = repeatedPairs({ ...NOISY, noise: 'independent', runs: 3, slowdown: 1.1 }, 1);
    const { verdict, metrics } = comparePairs(pairs);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(metrics.find((metric) => metric.verdict === 'undecided')?.runsNeeded).toBeGreaterThan(3);
  });

  test('of which too few have an answer are undecided', () => {
    const pairs = repeatedPairs({ ...NOISY, noise: 'independent', runs: 4, slowdown: 1 }, 1);
    for (const side of [pairs.a, pairs.b]) side.latencyNs.fill(Number.POSITIVE_INFINITY, 400);
    expect(comparePairs(pairs).metrics[0]).toMatchObject({ verdict: 'undecided', doubt: 'no_answer' });
  });

  test('keep their requests, routes and ends when they are joined', () => {
    const part = (values: readonly number[], route: number): PairedAnswers & { offsetNs: Float64Array } => {
      const seconds = Float64Array.from(values);
      const own = routed(answeredPairs(seconds, seconds), [1]);
      const routes = { names: [`r${route}`], of: new Uint32Array(values.length) };
      return { ...own, routes, offsetNs: Float64Array.from(values.keys()) };
    };
    const parts = fc.array(
      fc.tuple(fc.array(fc.double({ min: 0.001, max: 9, noNaN: true }), { maxLength: 9 }), fc.nat(2)),
      { minLength: 1, maxLength: 5 },
    );
    fc.assert(
      fc.property(parts, (drawn) => {
        const joined = joinedPairs(drawn.map(([values, route]) => part(values, route)));
        const all = drawn.flatMap(([values]) => values);
        expect([...joined.a.latencyNs]).toEqual(all.map((each) => each * 1e9));
        const names = [...(joined.routes?.of ?? [])].map((each) => joined.routes?.names[each]);
        expect(names).toEqual(drawn.flatMap(([values, route]) => values.map(() => `r${route}`)));
        expect((joined.runEnds ?? [joined.count]).at(-1)).toBe(all.length);
      }),
    );
  });
});

test('The spread of runs is that of Welch and Satterthwaite', () => {
  // Variances 2.5 and 10 over five runs each.
  const { mean, error, freedom, noise } = spreadOfRuns({ a: [1, 2, 3, 4, 5], b: [2, 4, 6, 8, 10] });
  expect(mean).toBe(3);
  expect(error).toBeCloseTo(Math.sqrt((2.5 + 10) / 5), 12);
  // (2.5 + 10)² ÷ ((2.5² + 10²) ÷ 4) = 5.88
  expect(freedom).toBe(5);
  expect(noise).toBeCloseTo(Math.sqrt(6.25), 12);
});
