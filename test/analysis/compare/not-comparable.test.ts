import { describe, expect, test } from 'vitest';
import { comparePairs } from '../../../src/analysis/compare/judge.ts';
import { type PairedAnswers, TELLS_ERROR, WHOLE } from '../../../src/analysis/compare/pairs.ts';
import { answeredPairs } from '../../support/compared-pairs.ts';

const COUNT = 2_000;

/** B answers in a tenth of the time. */
function fasterPairs(change: (pairs: PairedAnswers) => void = () => {}) {
  const pairs = answeredPairs(new Float64Array(COUNT).fill(0.1), new Float64Array(COUNT).fill(0.01));
  change(pairs);
  const { verdict, reasons } = comparePairs(pairs);
  return { verdict, codes: reasons.map(({ code }) => code) };
}

describe('a build that is faster for not doing the work', () => {
  const other = { verdict: 'INCONCLUSIVE', codes: ['not_comparable'] };

  test('is BETTER only where it answers alike', () => {
    expect(fasterPairs().verdict).toBe('BETTER');
  });

  test('is not comparable where its answers are empty or of half the size', () => {
    expect(fasterPairs(({ b }) => b.bytes.fill(0))).toEqual(other);
    expect(fasterPairs(({ b }) => b.bytes.fill(400))).toEqual(other);
  });

  test('is not comparable where over 2 % of its answers tell of an error under a 200', () => {
    const errors = (share: number) =>
      fasterPairs(({ b }) => b.traits.fill(WHOLE | TELLS_ERROR, 0, COUNT * share));
    expect(errors(0.05)).toEqual(other);
    expect(errors(0.01).verdict).toBe('BETTER');
  });

  test('is not comparable where one of its routes answers otherwise', () => {
    const small = (pairs: PairedAnswers) => {
      pairs.b.bytes.fill(10, 0, 200);
      return { ...pairs, routes: { names: ['POST /a', 'POST /b'], of: new Uint32Array(COUNT).fill(1, 200) } };
    };
    const pairs = answeredPairs(new Float64Array(COUNT).fill(0.1), new Float64Array(COUNT).fill(0.01));
    expect(comparePairs(small(pairs)).verdict).toBe('INCONCLUSIVE');
  });
});
