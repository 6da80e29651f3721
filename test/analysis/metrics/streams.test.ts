import { describe, expect, it } from 'vitest';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { evaluateObjectives, sampleCount } from '../../../src/analysis/verdict/evaluate.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { GapCounts } from '../../../src/core/gap-counts.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { contextOf } from '../../support/run-contexts.ts';
import { failed, refused, send } from '../../support/sends.ts';

const MS = 1e6;

/** Left 1 ms late; its first token came after `firstMs`, the others every 20 ms. */
function stream(index: number, facts: Partial<Send> = {}, tokens = 11, firstMs = 100): Send {
  const intendedOffsetNs = index * 1_000 * MS;
  const gaps = new GapCounts();
  for (let gap = 1; gap < tokens; gap += 1) gaps.add(20 * MS);
  const firstTokenOffsetNs = intendedOffsetNs + firstMs * MS;
  const lastTokenOffsetNs = firstTokenOffsetNs + (tokens - 1) * 20 * MS;
  return send({
    index,
    intendedOffsetNs,
    actualOffsetNs: intendedOffsetNs + MS,
    lastByteOffsetNs: lastTokenOffsetNs + MS,
    streamed: true,
    answer: {
      firstTokenOffsetNs,
      lastTokenOffsetNs,
      contentEvents: tokens,
      gapMaxNs: gaps.maxNs,
      gaps: gaps.toBytes(),
      promptTokens: 5,
      outputTokens: 2 * tokens - 1,
      finish: 'stop',
    },
    ...facts,
  });
}

function figuresOf(sends: readonly Send[]) {
  const statistics = new RunStatistics();
  statistics.addSends(sends);
  return statistics.figures();
}

describe('the figures of streams', () => {
  it('are of those that completed: from the planned instant, between tokens, and by counted token', () => {
    const { streams } = figuresOf([stream(0), stream(1), send({ index: 2 })]);
    expect(streams).toMatchObject({ completed: 2, failed: 0, withoutContent: 0 });
    expect([streams.ttft.max, streams.ttftService.max]).toEqual([100 * MS, 99 * MS]);
    expect([streams.itl.count, streams.itl.min]).toEqual([20, 20_031_000]);
    expect(streams.tpot.max).toBe(10 * MS);
    expect(streams.tokens).toEqual({ answers: 2, prompt: 10, output: 42, finishReasons: { stop: 2 } });
  });

  it('count a stream that was cancelled as far as it came', () => {
    const { streams, outcomes, latency } = figuresOf([
      stream(0),
      stream(2, { cancelled: true, status: null }),
    ]);
    expect(streams).toMatchObject({ completed: 1, failed: 0 });
    expect(streams.ttft.count).toBe(2);
    expect(outcomes).toMatchObject({ sent: 2, completed: 1, failed: 0, cancelled: 1 });
    expect(latency.service.count).toBe(1);
  });

  it('have no times between tokens where every stream had one token, which is said of an objective for them', () => {
    const sends = Array.from({ length: 200 }, (_, index) => stream(index, {}, 1));
    const { reasons } = judge(contextOf(sends), parseObjectives(['itl: p(95)<80', 'ttft: p(90)<200']));
    expect(reasons.map(({ code, text }) => [code, text])).toEqual([
      [
        'too_few_samples',
        'itl: p(95)<80 needs times between tokens, and none of 200 streams had a second token',
      ],
    ]);
    const few = judge(contextOf(sends.slice(0, 10)), parseObjectives(['itl: p(95)<80'])).reasons;
    expect(few[0]?.text).toBe('itl: p(95)<80 needs 130 answers, there are 10');
  });

  it('know no first token of a stream without content, and no rate of one that counted nothing', () => {
    const { answer } = stream(0);
    if (answer === null) throw new Error('no answer');
    const silent = {
      ...answer,
      firstTokenOffsetNs: null,
      lastTokenOffsetNs: null,
      contentEvents: 0,
      gaps: null,
    };
    const uncounted = { ...answer, outputTokens: null };
    const { streams } = figuresOf([stream(0, { answer: silent }), stream(1, { answer: uncounted })]);
    expect(streams).toMatchObject({ completed: 2, withoutContent: 1, unread: 0 });
    expect([streams.ttft.count, streams.tpot.count]).toEqual([1, 0]);
  });
});

/** Answered, whole, and with nothing in it. */
function empty(index: number): Send {
  const { answer, ...facts } = stream(index);
  if (answer === null) throw new Error('no answer');
  const nothing = { firstTokenOffsetNs: null, lastTokenOffsetNs: null, contentEvents: 0, gaps: null };
  return { ...facts, answer: { ...answer, ...nothing, gapMaxNs: null } };
}

describe('objectives for streams', () => {
  const judged = (sends: readonly Send[], slo: string, interrupted = false) =>
    evaluateObjectives(parseObjectives([slo]), figuresOf(sends), interrupted)[0];
  const good = Array.from({ length: 95 }, (_, index) => stream(index));
  const broken = (count: number) =>
    Array.from({ length: count }, (_, at) =>
      failed(95 + at, { streamed: true, error: 'broken_stream', status: 200 }),
    );

  it('are held against what was measured, in milliseconds', () => {
    expect(judged(good, 'ttft: p(95)<1000')).toMatchObject({
      observed: 100,
      ok: true,
      brokenBy: null,
    });
    expect(judged(good, 'tpot: max<10')).toMatchObject({ observed: 10, ok: false });
    expect(judged(good, 'itl: p(95)<80')?.observed).toBeCloseTo(20, 0);
  });

  it.each(['ttft: p(96)<1000', 'itl: p(96)<80', 'tpot: p(96)<80'])(
    'count a stream that failed or was refused as infinitely slow: %s',
    (slo) => {
      expect(judged([...good, ...broken(3)], slo)).toMatchObject({ ok: true });
      const refusedStreams = [98, 99].map((index) => refused(index, { streamed: true }));
      expect(judged([...good, ...broken(3), ...refusedStreams], slo)).toMatchObject({
        observed: Number.POSITIVE_INFINITY,
        ok: false,
      });
    },
  );

  it('take a stream that ended in good order without any content as one that never reached its first token', () => {
    const runs = [empty(95), empty(96), empty(97), empty(98), empty(99)];
    const figures = figuresOf([...good, ...runs]);
    expect(figures.streams).toMatchObject({ completed: 100, withoutContent: 5 });
    expect(sampleCount(figures, false, { metric: 'ttft', limits: [] })).toBe(100);
    expect(judged([...good, ...runs], 'ttft: p(96)<1000')).toMatchObject({
      observed: Number.POSITIVE_INFINITY,
      ok: false,
      brokenBy: 'target',
    });
    expect(judged(runs, 'ttft: p(50)<1000')?.ok).toBe(false);
    // It has no gap that could be slow, and is not taken for one that broke.
    expect(judged([...good, ...runs], 'itl: p(99)<80')?.ok).toBe(true);
  });

  it('know nothing of streams that could not be read, and count no stream where a request for one was turned away', () => {
    const others = [stream(95, { answer: null }), stream(96, { answer: null, status: 429 })];
    const { streams } = figuresOf([...good, ...others]);
    expect(streams).toMatchObject({ completed: 96, withoutContent: 0, unread: 1, turnedAway: 1 });
    expect(judged([...good, ...others], 'ttft: max<1000')).toMatchObject({
      ok: false,
      brokenBy: 'streams',
    });
    expect(judged([...good, ...others], 'ttft: max<50')).toMatchObject({ ok: false, brokenBy: 'target' });
  });

  it('are no matter of failed requests that are no streams, nor of those our own stop ended', () => {
    const others = [95, 96, 97, 98, 99].map((index) => failed(index));
    expect(judged([...good, ...others], 'ttft: p(99)<1000')).toMatchObject({ ok: true });
    const stopped = broken(5).map((each) => ({ ...each, error: 'stopped' as const, status: null }));
    expect(judged([...good, ...stopped], 'ttft: p(99)<1000', true)).toMatchObject({ ok: true });
  });

  it('rest on streams, not on their gaps; without any there is nothing to judge', () => {
    const figures = figuresOf([...good, ...broken(5)]);
    expect(
      (['ttft', 'itl', 'tpot'] as const).map((metric) => sampleCount(figures, false, { metric, limits: [] })),
    ).toEqual([100, 100, 100]);
    expect(judged([send({ index: 0 })], 'itl: p(95)<80')).toMatchObject({ observed: null, ok: null });
  });
});
