import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../src/app/compare.ts';
import { byProgram } from '../../src/core/options.ts';
import type { Send } from '../../src/core/run.ts';
import { calmSends, comparedRun } from '../support/compared-runs.ts';

const COUNT = 900;
const DEFAULTS = resolveCompareOptions(byProgram(COMPARE_OPTIONS, {}));

/** Has the summary of a run say what came of its check. */
function withCheck(run: string, checked: number, mismatched: number): void {
  const path = join(run, 'summary.json');
  const summary = JSON.parse(readFileSync(path, 'utf8')) as object;
  const byKind = { status: 0, shape: 0, values: mismatched, length: 0, finish: 0 };
  const counts = { answers: COUNT, checked, mismatched, rate: mismatched / checked, byKind };
  const unchecked = checked < COUNT ? { checker_failed: COUNT - checked } : {};
  chmodSync(path, 0o600);
  writeFileSync(
    path,
    JSON.stringify({
      ...summary,
      check: {
        level: 'values',
        ...counts,
        unchecked,
        examples: {},
        tolerance: {},
        ignored: { asked: [], byProtocol: {} },
      },
    }),
  );
}

describe('comparing what the rows of runs say of answers and tokens', () => {
  test('takes a faster build for worse that answers otherwise where the other one did not', async () => {
    const { a, b } = calmSends(COUNT, 0.5, (index) => ({
      check: index % 10 === 0 ? { result: 'mismatch', kind: 'values', pointer: null } : { result: 'same' },
    }));
    const checked = { options: { multiplier: 1.5, check: { level: 'values' } } };
    const one = comparedRun(
      a.map((each) => ({ ...each, check: { result: 'same' } })),
      { run: checked },
    );
    const other = comparedRun(b, { run: checked });
    const document = await compareNamed(one, other, DEFAULTS);
    expect(document.verdict).toBe('WORSE');
    expect(document.reasons.map(({ code }) => code)).toEqual(['mismatched_worse']);
    // What was compared differently cannot be held against each other.
    const laxly = { options: { multiplier: 1.5, check: { level: 'status' } } };
    await expect(compareNamed(comparedRun(a, { run: laxly }), other, DEFAULTS)).rejects.toThrow(
      'check: {"level":"status"} | {"level":"values"}',
    );
  });

  test('says that nobody looked at the answers of B where those of A were checked', async () => {
    const { a, b } = calmSends(COUNT, 1);
    const one = comparedRun(a.map((each) => ({ ...each, check: { result: 'same' } })));
    const { verdict, notes } = await compareNamed(one, comparedRun(b), DEFAULTS);
    expect(verdict).toBe('SAME');
    expect(notes.map(({ code }) => code)).toContain('answers_unchecked');
  });

  test('never takes a build whose first tokens come a fifth later for the same', async () => {
    const streamed = (sends: readonly Send[], slowdown: number): Send[] =>
      sends.map((each) => {
        const firstTokenOffsetNs = each.intendedOffsetNs + 5e6 * slowdown * (1 + (each.index % 7) / 50);
        const lastTokenOffsetNs = firstTokenOffsetNs + 40e6 * (1 + (each.index % 5) / 50);
        const times = { firstTokenOffsetNs, lastTokenOffsetNs, contentEvents: 5, gapMaxNs: 10e6, gaps: null };
        return {
          ...each,
          streamed: true,
          answer: { ...times, promptTokens: 1, outputTokens: 5, finish: 'stop' },
        };
      });
    const { a, b } = calmSends(COUNT, 1);
    const one = comparedRun(streamed(a, 1));
    expect((await compareNamed(one, comparedRun(streamed(b, 1)), DEFAULTS)).verdict).toBe('SAME');
    const { verdict, reasons } = await compareNamed(one, comparedRun(streamed(b, 1.2)), DEFAULTS);
    expect(verdict).toBe('WORSE');
    expect(reasons.map(({ code }) => code)).toEqual(['ttft_p50_worse', 'ttft_p95_worse']);
  });

  test('lets a few pairs that were checked on both sides not speak for all answers', async () => {
    const { a, b } = calmSends(COUNT, 1);
    const early = (index: number) => index < COUNT / 20;
    const one = comparedRun(
      a.map((each) => ({
        ...each,
        check: early(each.index) ? { result: 'same' } : { result: 'unchecked', reason: 'checker_failed' },
      })),
    );
    const other = comparedRun(
      b.map((each) => ({
        ...each,
        check:
          early(each.index) || each.index % 3 > 0
            ? { result: 'same' }
            : { result: 'mismatch', kind: 'values', pointer: null },
      })),
    );
    withCheck(one, COUNT / 20, 0);
    withCheck(other, COUNT, (COUNT * 0.95) / 3);
    const document = await compareNamed(one, other, DEFAULTS);
    expect(document.verdict).toBe('INCONCLUSIVE');
    expect(document.reasons.map(({ code }) => code)).toContain('answers_differ');
  });

  test('never takes a faster build for better that its own run found to answer otherwise', async () => {
    const { a, b } = calmSends(COUNT, 0.5);
    const one = comparedRun(a);
    const other = comparedRun(b);
    expect((await compareNamed(one, other, DEFAULTS)).verdict).toBe('BETTER');
    withCheck(other, COUNT, COUNT);
    const document = await compareNamed(one, other, DEFAULTS);
    expect(document.verdict).toBe('INCONCLUSIVE');
    expect(document.reasons.map(({ code }) => code)).toEqual(['answers_differ']);
    expect(document.notes.map(({ code }) => code)).toContain('latency_p50_better');
    const alike = comparedRun(b);
    withCheck(alike, COUNT, COUNT);
    expect((await compareNamed(other, alike, DEFAULTS)).verdict).toBe('SAME');
  });
});
