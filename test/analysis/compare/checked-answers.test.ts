import { describe, expect, test } from 'vitest';
import { comparePairs } from '../../../src/analysis/compare/judge.ts';
import { AGREES, DIFFERS, FAILED, type PairedAnswers, WHOLE } from '../../../src/analysis/compare/pairs.ts';
import { chanceOfHeads } from '../../../src/analysis/compare/shares.ts';
import { pairsOf, spoilt } from '../../support/compared-pairs.ts';
import { uniform } from '../../support/queue-simulator.ts';

describe('comparing answers that were held against the recorded ones', () => {
  /** Both checked; those of a side that are named differ. */
  function checkedPairsOf(a: (at: number) => boolean, b: (at: number) => boolean): PairedAnswers {
    const pairs = pairsOf(1);
    for (let at = 0; at < pairs.count; at++) {
      pairs.a.traits[at] = WHOLE | (a(at) ? DIFFERS : AGREES);
      pairs.b.traits[at] = WHOLE | (b(at) ? DIFFERS : AGREES);
    }
    return pairs;
  }
  const never = () => false;

  test('never takes a build that answers otherwise where the other did not for the same, however seldom', () => {
    const few = comparePairs(checkedPairsOf(never, (at) => at === 700));
    expect(few.verdict).toBe('INCONCLUSIVE');
    expect(few.reasons.map(({ code }) => code)).toEqual(['answers_differ']);
    const many = comparePairs(checkedPairsOf(never, (at) => at % 20 === 0));
    expect(many.verdict).toBe('WORSE');
    expect(many.reasons[0]).toMatchObject({
      code: 'mismatched_worse',
      text: 'mismatched went from 0 % to 5 % of the answers',
    });
    expect(comparePairs(checkedPairsOf(never, never)).verdict).toBe('SAME');
  });

  test('takes answers that differ here and there by chance on both sides for the same', () => {
    const random = uniform(5);
    const draws = Array.from({ length: 4_000 }, () => random() < 0.02);
    const pairs = checkedPairsOf(
      (at) => draws[at * 2] ?? false,
      (at) => draws[at * 2 + 1] ?? false,
    );
    expect(comparePairs(pairs).verdict).toBe('SAME');
    // Ten more of B alone are no chance.
    const more = checkedPairsOf(
      (at) => at % 100 === 0,
      (at) => at % 100 === 0 || at % 222 === 1,
    );
    expect(comparePairs(more)).toMatchObject({ verdict: 'INCONCLUSIVE' });
  });

  test('leaves what failed to the failures', () => {
    const pairs = spoilt(
      checkedPairsOf(never, (at) => at === 700),
      FAILED,
      (at) => at === 700,
    );
    const { verdict, metrics } = comparePairs(pairs);
    expect(verdict).toBe('SAME');
    expect(metrics.at(-1)).toMatchObject({ name: 'mismatched', b: 0, pairs: 1_999 });
  });

  test('knows the chance of so many heads', () => {
    expect(chanceOfHeads(7, 7)).toBeCloseTo(1 / 128, 12);
    expect(chanceOfHeads(2, 4)).toBeCloseTo(11 / 16, 12);
    expect(chanceOfHeads(0, 0)).toBe(1);
    expect(chanceOfHeads(501_000, 1_000_000)).toBeCloseTo(0.02282, 3);
  });
});
