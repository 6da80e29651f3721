import { describe, expect, test } from 'vitest';
import { mostDifference, shareMetric } from '../../../src/analysis/compare/shares.ts';
import { uniform } from '../../support/queue-simulator.ts';

describe('the most that a share of paired requests may be greater by', () => {
  test('is some three requests where none was seen, and more with each that was', () => {
    expect(mostDifference({ pairs: 1_000, more: 0, less: 0 })).toBeCloseTo(0.0027, 4);
    expect(mostDifference({ pairs: 1_000, more: 1, less: 0 })).toBeCloseTo(0.00449, 4);
    expect(mostDifference({ pairs: 1_000, more: 1, less: 0 })).toBeLessThan(
      mostDifference({ pairs: 1_000, more: 1, less: 1 }) + 0.001,
    );
  });

  test('comes near the normal interval of paired shares where there are many', () => {
    const [pairs, more, less] = [100_000, 600, 500];
    const error = Math.sqrt((more + less - (more - less) ** 2 / pairs) / pairs ** 2);
    expect(mostDifference({ pairs, more, less })).toBeCloseTo((more - less) / pairs + 1.645 * error, 4);
  });

  test('is what it says in nineteen of twenty draws', () => {
    const random = uniform(3);
    for (const [shareA, shareB] of [
      [0, 0.004],
      [0.005, 0.01],
      [0.02, 0.025],
    ] as const) {
      let misses = 0;
      for (let draw = 0; draw < 400; draw++) {
        let [more, less] = [0, 0];
        for (let at = 0; at < 1_000; at++) {
          const [a, b] = [random() < shareA, random() < shareB];
          if (b && !a) more += 1;
          if (a && !b) less += 1;
        }
        if (mostDifference({ pairs: 1_000, more, less }) < shareB - shareA) misses += 1;
      }
      expect(misses / 400).toBeLessThanOrEqual(0.08);
    }
  });
});

describe('shares without a failure on either side', () => {
  const never = () => false;
  const runs = (count: number, pairs: number) => Array.from({ length: count }, (_, at) => (at + 1) * pairs);
  const failed = (ends: readonly number[], looks: number) =>
    shareMetric(
      { name: 'failed', a: never, b: never },
      ends,
      { floor: 0.05, detect: 0.1, failureFloor: 0.005, looks },
      3,
    );

  test.each([
    [1, 598],
    [2, 736],
    [3, 817],
    [4, 875],
  ])('are the same from as many pairs on as the guide says: %i looks', (looks, least) => {
    expect(failed([100, 200, least - 1], looks).verdict).toBe('undecided');
    expect(failed([100, 200, least], looks).verdict).toBe('same');
  });

  test('are decided by three runs of each side, of 300 requests', () => {
    expect(failed(runs(3, 295), 4).verdict).toBe('same');
  });

  test('need as many pairs as are then enough', () => {
    const { verdict, pairsNeeded } = failed(runs(2, 300), 4);
    expect(verdict).toBe('undecided');
    expect(failed([100, 200, pairsNeeded ?? 0], 4).verdict).toBe('same');
    expect(pairsNeeded).toBeLessThan(900);
  });
});
