import { describe, expect, test } from 'vitest';
import { comparePairs } from '../../../src/analysis/compare/judge.ts';
import { type PairedAnswers, STREAMED } from '../../../src/analysis/compare/pairs.ts';
import { answeredPairs, CALM } from '../../support/compared-pairs.ts';
import { queuePair } from '../../support/queue-simulator.ts';

describe('what we sent late by ourselves', () => {
  /** The target needs 2 ms, B so many times as long; each side was late by so many milliseconds. */
  function lateBy(aMs: number, bMs: number, slowdown: number): PairedAnswers {
    const { a, b } = queuePair({ ...CALM, slowdown, seed: 1 });
    const pairs = answeredPairs(
      a.map((each) => each * 2e-3 + aMs / 1e3),
      b.map((each) => each * 2e-3 + bMs / 1e3),
    );
    pairs.a.lagNs.fill(aMs * 1e6);
    pairs.b.lagNs.fill(bMs * 1e6);
    return pairs;
  }
  const codesOf = ({ reasons }: { readonly reasons: readonly { readonly code: string }[] }) =>
    reasons.map(({ code }) => code);

  test('never makes a build worse that answers as fast', () => {
    const { verdict, reasons, metrics } = comparePairs(lateBy(0.1, 1.2, 1));
    expect(verdict).toBe('INCONCLUSIVE');
    expect(new Set(reasons.map(({ code }) => code))).toEqual(new Set(['our_lag']));
    expect(metrics[0]).toMatchObject({ verdict: 'undecided', doubt: 'our_lag', pairsNeeded: null });
    expect(metrics[0]?.ratio).toBeGreaterThan(1.4);
    expect(metrics[0]?.ratioLessLag).toBeCloseTo(1, 1);
  });

  test('never makes a build better that answers as fast', () => {
    expect(comparePairs(lateBy(1.2, 0.1, 1)).verdict).toBe('SAME');
  });

  test('never hides a slower build behind a quieter generator', () => {
    const { verdict, reasons } = comparePairs(lateBy(1, 0, 1.25));
    expect(verdict).toBe('INCONCLUSIVE');
    expect(codesOf({ reasons })).toContain('our_lag');
  });

  test('keeps from no verdict where both are late alike, or nothing to speak of', () => {
    expect(comparePairs(lateBy(0.1, 0.1, 1))).toMatchObject({ verdict: 'SAME' });
    expect(comparePairs(lateBy(0.1, 0.1, 1.5)).verdict).toBe('WORSE');
    expect(comparePairs(lateBy(0.1, 0.1, 1 / 1.5)).verdict).toBe('BETTER');
  });

  test('counts against first tokens likewise', () => {
    const pairs = lateBy(0.1, 1.2, 1);
    pairs.a.ttftNs.set(pairs.a.latencyNs);
    pairs.b.ttftNs.set(pairs.b.latencyNs);
    pairs.a.traits.fill(STREAMED);
    pairs.b.traits.fill(STREAMED);
    const ttft = comparePairs(pairs).metrics.find(({ name }) => name === 'ttft_p50');
    expect(ttft).toMatchObject({ verdict: 'undecided', doubt: 'our_lag' });
  });
});
