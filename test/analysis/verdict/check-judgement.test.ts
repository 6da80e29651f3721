import { describe, expect, test } from 'vitest';
import type { RunContext } from '../../../src/analysis/verdict/run-context.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { statusOfVerdict } from '../../../src/cli/exit.ts';
import { type AnswerCheck, mismatch, SAME, type Send, unchecked } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { contextOf, good, late } from '../../support/run-contexts.ts';

/** Sends with these checks, so many of each, one after the other. */
function withChecks(sends: readonly Send[], counts: readonly (readonly [number, AnswerCheck])[]): RunContext {
  const checks = counts.flatMap(([count, check]) => Array<AnswerCheck>(count).fill(check));
  return contextOf(sends.map((send, at) => ({ ...send, check: checks[at] ?? null })));
}

function judged(context: RunContext, slo = 'mismatch: rate<0.01') {
  const { verdict, valid, reasons, results: lines } = judge(context, parseObjectives([slo]));
  const codes = reasons.map(({ code }) => code);
  return { verdict, codes, observed: lines[0]?.observed, exit: statusOfVerdict({ verdict, valid }), reasons };
}

const DIFFERENT = mismatch('values', '/outputs/0');
const HIDDEN = unchecked('no_recorded_body');

describe('an objective on mismatches', () => {
  test('is kept by answers that are the same', () => {
    expect(
      judged(
        withChecks(good(200), [
          [199, SAME],
          [1, DIFFERENT],
        ]),
      ),
    ).toMatchObject({
      verdict: 'PASS',
      observed: 0.005,
      exit: 0,
    });
    expect(judged(withChecks(good(200), [[200, SAME]]), 'mismatch: count<1').verdict).toBe('PASS');
  });

  test('is violated by answers that differ, however late we were ourselves', () => {
    for (const sends of [good(200), late(200)]) {
      const run = judged(
        withChecks(sends, [
          [198, SAME],
          [2, DIFFERENT],
        ]),
      );
      expect(run).toMatchObject({ verdict: 'FAIL', observed: 0.01, exit: 3, codes: ['slo_violated'] });
    }
  });

  test('is in doubt where more than 1 in 100 answers could not be compared', () => {
    const few = judged(
      withChecks(good(200), [
        [198, SAME],
        [2, HIDDEN],
      ]),
    );
    expect(few.verdict).toBe('PASS');
    const many = judged(
      withChecks(good(200), [
        [197, SAME],
        [3, HIDDEN],
      ]),
    );
    expect(many).toMatchObject({ verdict: 'INCONCLUSIVE', exit: 4, codes: ['answers_unchecked'] });
    expect(many.reasons[0]?.text).toContain('3 of 200 answers could not be compared');
    expect(many.reasons[0]?.advice).toContain('--bodies all');
  });

  test('fails in doubt only for what no answer that was not compared could undo', () => {
    // 2 of 10 that were compared differ: of all 200 that is 1 in 100.
    const run = judged(
      withChecks(good(200), [
        [8, SAME],
        [2, DIFFERENT],
        [190, HIDDEN],
      ]),
      'mismatch: rate<0.05',
    );
    expect(run).toMatchObject({ verdict: 'INCONCLUSIVE', observed: 0.2, codes: ['answers_unchecked'] });
    const proven = judged(
      withChecks(good(200), [
        [8, SAME],
        [20, DIFFERENT],
        [172, HIDDEN],
      ]),
      'mismatch: rate<0.05',
    );
    expect(proven).toMatchObject({ verdict: 'FAIL', exit: 3 });
  });

  test('never passes where nothing was compared', () => {
    for (const context of [contextOf(good(200)), withChecks(good(200), [[200, HIDDEN]])])
      expect(judged(context)).toMatchObject({
        verdict: 'INCONCLUSIVE',
        observed: null,
        exit: 4,
        codes: ['answers_unchecked'],
      });
  });

  test('is the only reason for unchecked answers to count', () => {
    const context = withChecks(good(200), [
      [100, HIDDEN],
      [100, SAME],
    ]);
    expect(judged(context, 'latency: p(95)<5000').verdict).toBe('PASS');
  });

  test('replaces the limit of 5 %, under which mismatches are a note', () => {
    const of = (differing: number) =>
      withChecks(good(200), [
        [differing, DIFFERENT],
        [200 - differing, SAME],
      ]);
    const notes = (differing: number) =>
      judge(of(differing), parseObjectives(['latency: p(95)<5000'])).notes.map(({ code }) => code);
    expect(judged(of(11), 'latency: p(95)<5000').codes).toEqual(['not_comparable']);
    expect(judged(of(10), 'latency: p(95)<5000').verdict).toBe('PASS');
    expect(notes(10)).toContain('not_comparable');
    expect(notes(0)).not.toContain('not_comparable');
    expect(judged(of(11), 'mismatch: rate<0.2').verdict).toBe('PASS');
  });
});

test('the figures of checks name the first of each kind, by their ids and the place', () => {
  const { figures } = withChecks(good(9), [
    [1, SAME],
    [4, DIFFERENT],
    [1, mismatch('finish')],
    [2, HIDDEN],
  ]);
  expect(figures.check).toEqual({
    answers: 8,
    checked: 6,
    mismatched: 5,
    byKind: { status: 0, shape: 0, values: 4, length: 0, finish: 1 },
    unchecked: { no_recorded_body: 2 },
    examples: {
      values: [1, 2, 3].map((index) => expect.objectContaining({ index, pointer: '/outputs/0' })),
      finish: [expect.objectContaining({ index: 5, exchangeId: 6, pointer: null })],
    },
  });
});
