import { describe, expect, test } from 'vitest';
import { mostDifference } from '../../../src/analysis/compare/shares.ts';
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
