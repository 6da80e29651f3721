import { describe, expect, test } from 'vitest';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { statusOfVerdict } from '../../../src/cli/exit.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { contextOf } from '../../support/run-contexts.ts';
import { failed, send } from '../../support/sends.ts';

const COUNT = 100;
type Recorded = Partial<Parameters<typeof exchangeRow>[0]>;

/** A hundred requests, of which the first so many fare as told now, and fared as told when they were recorded. */
function judged(
  now: readonly [number, (index: number) => Send],
  then: readonly [number, Recorded] = [0, {}],
  {
    slo = [],
    interrupted = null,
  }: { readonly slo?: readonly string[]; readonly interrupted?: string | null } = {},
) {
  const statistics = new RunStatistics();
  const sends = Array.from({ length: COUNT }, (_, index) =>
    index < now[0] ? now[1](index) : send({ index }),
  );
  for (const { index, intendedOffsetNs } of sends) {
    const recorded = index < then[0] ? then[1] : { status: 200 };
    statistics.addPlanned(exchangeRow(recorded), intendedOffsetNs);
  }
  statistics.addSends(sends);
  const judgement = judge(
    { ...contextOf(sends, { interrupted }), figures: statistics.figures() },
    parseObjectives([...slo]),
  );
  const codes = judgement.reasons.map(({ code }) => code);
  return {
    codes,
    text: judgement.reasons[0]?.text,
    advice: judgement.reasons[0]?.advice,
    exitCode: statusOfVerdict(judgement),
    verdict: judgement.verdict,
  };
}

const unavailable = (index: number) => send({ index, status: 503 });
const open = (index: number) => failed(index, { error: 'stopped' });

test('a port that answered some of the requests was called the wrong one where nearly all were reset', () => {
  const others = COUNT - 5;
  for (const slo of [[], ['errors: rate<0.01']]) {
    expect(judged([COUNT, (index) => failed(index)], [0, {}], { slo }).advice).toContain('port');
    expect(judged([others, (index) => failed(index)], [0, {}], { slo }).advice).not.toContain('port');
    const own = (index: number) => (index < others ? failed(index) : send({ index, cancelled: true }));
    expect(judged([COUNT, own], [0, {}], { slo }).advice).not.toContain('port');
  }
});

describe('a run without an objective', () => {
  test.each<[string, number, (index: number) => Send, string]>([
    [
      'answers 503 to all',
      COUNT,
      unavailable,
      '100.0 % of the requests failed (5xx, or no answer), most often with status 503; in production 0.0 %',
    ],
    [
      'resets a few',
      3,
      (index) => failed(index),
      '3.0 % of the requests failed (5xx, or no answer), most often with connection reset',
    ],
    ['answers nothing', COUNT, open, 'most often with no answer by the end of the run'],
  ])('is not valid, and says so by its exit status, where the target %s', (_, count, fate, text) => {
    const run = judged([count, fate]);
    expect(run).toMatchObject({ verdict: null, codes: ['not_comparable'], exitCode: 4 });
    expect(run.text).toContain(text);
  });

  test('is valid where as much failed when it was recorded, or hardly more', () => {
    expect(judged([2, unavailable])).toMatchObject({ codes: [], exitCode: 0 });
    expect(judged([32, unavailable], [30, { status: 500 }])).toMatchObject({ codes: [], exitCode: 0 });
    expect(judged([33, unavailable], [30, { status: 500 }])).toMatchObject({ exitCode: 4 });
    const unanswered: Recorded = { outcome: 'upstream_failed', status: null };
    expect(judged([32, unavailable], [30, unanswered])).toMatchObject({ codes: [], exitCode: 0 });
    // An answer that broke off had its status, and is one failure all the same, as is one of 5xx.
    const broken: Recorded = { outcome: 'upstream_failed', status: 200 };
    expect(judged([32, unavailable], [30, broken])).toMatchObject({ codes: [], exitCode: 0 });
    expect(judged([33, unavailable], [30, { ...broken, status: 500 }])).toMatchObject({ exitCode: 4 });
    // Of arrivals alone nobody knows how they were answered, and a failure is one all the same.
    const unknown = judged([3, unavailable], [COUNT, { status: null }]);
    expect(unknown).toMatchObject({ exitCode: 4, text: expect.stringMatching(/in production unknown$/) });
  });

  test('takes nothing for a failure that whoever stopped it ended', () => {
    expect(judged([50, open], [0, {}], { interrupted: 'SIGINT' }).codes).toEqual(['interrupted']);
  });
});

test('what may fail is said by an objective, where there is one', () => {
  const kept = judged([10, unavailable], [0, {}], { slo: ['errors: rate<0.9'] });
  expect(kept).toMatchObject({ verdict: 'PASS', exitCode: 0 });
});
