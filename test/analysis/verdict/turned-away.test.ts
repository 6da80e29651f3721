import { describe, expect, test } from 'vitest';
import { comparePairs } from '../../../src/analysis/compare/judge.ts';
import { TURNED_AWAY } from '../../../src/analysis/compare/pairs.ts';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { statusOfVerdict } from '../../../src/cli/exit.ts';
import { GapCounts } from '../../../src/core/gap-counts.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { answeredPairs } from '../../support/compared-pairs.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { contextOf } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';

const MS = 1e6;
const COUNT = 1_000;
const REALTIME = ['latency: p(50)<50', 'errors: rate<0.01'];

type StatusOf = (index: number) => number | null;

/** The first so many of a thousand. */
const first =
  (count: number, status: number, others: number | null = 200): StatusOf =>
  (index) =>
    index < count ? status : others;
const always =
  (status: number | null): StatusOf =>
  () =>
    status;

/** A thousand requests, each with its recorded status (null: nobody knows) and the one it was answered with now. */
function judged(recorded: StatusOf, sent: StatusOf, slo: readonly string[] = REALTIME, facts = plain) {
  const sends = Array.from({ length: COUNT }, (_, index) => facts(index, sent(index)));
  const statistics = new RunStatistics();
  for (const each of sends) {
    statistics.addPlanned(exchangeRow({ status: recorded(each.index) }), each.intendedOffsetNs);
  }
  statistics.addSends(sends);
  const judgement = judge({ ...contextOf(sends), figures: statistics.figures() }, parseObjectives([...slo]));
  const codes = judgement.reasons.map(({ code }) => code);
  const note = judgement.notes.find(({ code }) => code === 'turned_away')?.text;
  return { ...judgement, codes, note, exitCode: statusOfVerdict(judgement) };
}

const plain = (index: number, status: number | null): Send => send({ index, status });

/** Asked for as a stream; answered so where the answer is one, its first token after 5 ms. */
function stream(index: number, status: number | null): Send {
  const base = send({ index, status, streamed: true });
  const at = base.intendedOffsetNs + 5 * MS;
  const gaps = new GapCounts();
  gaps.add(3 * MS);
  const times = {
    firstTokenOffsetNs: at,
    lastTokenOffsetNs: at + 3 * MS,
    contentEvents: 2,
    gapMaxNs: 3 * MS,
  };
  const said = { gaps: gaps.toBytes(), promptTokens: 5, outputTokens: 4, finish: 'stop' as const };
  return status === 200 ? { ...base, answer: { ...times, ...said } } : base;
}

describe('a target that turns requests away', () => {
  test.each([400, 401, 404, 405, 413, 415, 422, 302, 307])(
    'is INCONCLUSIVE where nobody knows the recorded statuses and all is answered with %d, never PASS',
    (status) => {
      const run = judged(always(null), always(status));
      expect(run).toMatchObject({ verdict: 'INCONCLUSIVE', codes: ['not_comparable'], exitCode: 4 });
      expect(judged(always(null), always(status), [])).toMatchObject({ valid: false, exitCode: 4 });
    },
  );

  test('is judged by the 2 % that statuses may be off, and a smaller share is said', () => {
    expect(judged(always(null), first(21, 400))).toMatchObject({ codes: ['not_comparable'] });
    const few = judged(always(null), first(20, 422));
    expect(few).toMatchObject({ verdict: 'PASS' });
    expect(few.note).toContain('2.0 %');
    expect(judged(always(200), first(10, 400)).note).toContain('1.0 %');
    expect(judged(always(null), always(200)).note).toBeUndefined();
  });

  test('is none where as much was turned away when it was recorded', () => {
    const run = judged(first(300, 404), first(300, 404));
    expect(run).toMatchObject({ verdict: 'PASS', note: undefined });
    expect(judged(first(300, 304), first(300, 304)).verdict).toBe('PASS');
    expect(judged(first(300, 404), first(330, 404)).codes).toEqual(['not_comparable']);
  });

  test('is not excused for all of its requests by the few whose recorded status is known', () => {
    expect(judged(first(1, 400, null), always(400)).codes).toEqual(['not_comparable']);
  });

  test('is FAIL where it refuses over 1 % more for its load than production did', () => {
    expect(judged(always(200), first(100, 429))).toMatchObject({ verdict: 'FAIL', codes: ['slo_violated'] });
    expect(judged(always(null), first(100, 429)).results.at(-1)).toMatchObject({
      objective: { expression: 'rejected: rate<0.01' },
      ok: false,
    });
    expect(judged(first(300, 429), first(305, 429))).toMatchObject({ verdict: 'PASS' });
    expect(judged(first(300, 429), first(320, 429)).results.at(-1)).toMatchObject({
      objective: { expression: 'rejected: rate<0.31' },
      observed: 0.32,
      ok: false,
    });
    const stated = [...REALTIME, 'rejected: rate<0.5'];
    // All refusals came together, so the objective holds as observed, but another run may be over it.
    expect(judged(first(300, 429), first(315, 429), stated)).toMatchObject({ codes: ['too_close'] });
  });

  test('is no fault where it serves what production refused, which is a note', () => {
    const run = judged(first(300, 429), always(200));
    expect(run).toMatchObject({ verdict: 'PASS' });
    expect(run.notes.map(({ code }) => code)).toContain('recorded_refusals');
    expect(judged(first(5, 429), always(200)).notes.map(({ code }) => code)).not.toContain(
      'recorded_refusals',
    );
  });

  test('answers quickly, which is in no latency', () => {
    const quick = judged(first(300, 429), first(300, 429));
    expect(quick.verdict).toBe('PASS');
    const refusedFast = (sends: readonly Send[]) =>
      sends.map((each) =>
        each.status === 429 ? each : { ...each, lastByteOffsetNs: (each.actualOffsetNs ?? 0) + 300 * MS },
      );
    const sends = Array.from({ length: 1_000 }, (_, index) =>
      send({ index, status: index < 700 ? 429 : 200 }),
    );
    const { results } = judge(contextOf(refusedFast(sends)), parseObjectives(['latency: p(50)<200']));
    expect(results[0]).toMatchObject({ ok: false });
    expect(results[0]?.observed).toBeCloseTo(300, 0);
  });

  test('is not taken for one that failed', () => {
    const run = judged(always(null), always(400), ['errors: rate<0.01']);
    expect(run.results[0]).toMatchObject({ observed: 0, ok: true });
  });
});

test('two builds that both turn everything away are never called the same', () => {
  const pairs = answeredPairs(new Float64Array(2_000).fill(0.001), new Float64Array(2_000).fill(0.001));
  const away = new Uint8Array(pairs.count).fill(TURNED_AWAY);
  expect(
    comparePairs({
      count: pairs.count,
      a: { ...pairs.a, outcome: away },
      b: { ...pairs.b, outcome: away },
    }).verdict,
  ).toBe('INCONCLUSIVE');
});

describe('requests for streams that are turned away', () => {
  const objectives = ['ttft: p(99)<100', 'itl: p(99)<100', 'tpot: p(99)<100'];

  test.each(objectives)('cannot hide a tail by their absence: %s', (slo) => {
    const hidden = judged(always(null), first(15, 422), [slo], stream);
    expect(hidden).toMatchObject({ verdict: 'INCONCLUSIVE', codes: ['not_comparable'], exitCode: 4 });
    expect(hidden.reasons[0]?.text).toContain('15 requests');
    expect(judged(always(null), first(3, 422), [slo], stream).verdict).toBe('PASS');
  });

  test.each(objectives)('are no proof that a target is slow, and excuse none that is: %s', (slo) => {
    const slow = slo.replace('<100', '<0.5');
    expect(judged(always(null), first(15, 422), [slow], stream)).toMatchObject({
      verdict: 'FAIL',
      codes: ['slo_violated'],
    });
    expect(judged(always(null), always(422), [slow], stream).verdict).toBe('INCONCLUSIVE');
  });

  test.each(objectives)('nor can those that were answered whole: %s', (slo) => {
    const whole =
      (count: number) =>
      (index: number, status: number | null): Send =>
        index < count ? send({ index, status, unstreamed: true }) : stream(index, status);
    const hidden = judged(always(200), always(200), [slo], whole(15));
    expect(hidden).toMatchObject({ verdict: 'INCONCLUSIVE', codes: ['not_comparable'], exitCode: 4 });
    expect(hidden.reasons[0]?.text).toContain('answered whole 15 requests');
    expect(judged(always(200), always(200), [slo], whole(3)).verdict).toBe('PASS');
    const slow = slo.replace('<100', '<0.5');
    expect(judged(always(200), always(200), [slow], whole(15)).verdict).toBe('FAIL');
    expect(judged(always(200), always(200), [slow], whole(COUNT)).verdict).toBe('INCONCLUSIVE');
  });

  test('are no completed streams', () => {
    const sends = [200, 200, 400].map((status, index) => stream(index, status));
    expect(contextOf(sends).figures.streams).toMatchObject({ completed: 2, turnedAway: 1, unread: 0 });
  });
});
