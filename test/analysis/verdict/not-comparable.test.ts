import { describe, expect, test } from 'vitest';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import type { FinishReason } from '../../../src/core/exchange.ts';
import type { RecordedAnswer, Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { contextOf, good } from '../../support/run-contexts.ts';

const RECORDED: RecordedAnswer = {
  status: 200,
  bytes: 1_000,
  streamed: false,
  tookNs: 12e6,
  tellsError: false,
};

const ANSWERED = {
  firstTokenOffsetNs: null,
  lastTokenOffsetNs: null,
  contentEvents: 0,
  gapMaxNs: null,
  gaps: null,
  promptTokens: null,
  outputTokens: null,
  finish: null,
};

function judged(
  parts: (index: number) => Partial<Send>,
  recorded: Partial<RecordedAnswer> = {},
  count = 200,
) {
  const sends = good(count).map((each) => ({
    ...each,
    responseBytes: 1_000,
    recorded: { ...RECORDED, ...recorded },
    ...parts(each.index),
  }));
  const { verdict, reasons, notes } = judge(contextOf(sends), parseObjectives(['latency: p(95)<100']));
  const found = reasons.find(({ code }) => code === 'not_comparable');
  return { verdict, text: found?.text ?? null, notes: notes.map(({ code }) => code) };
}
const numbers = (text: string | null) => text?.match(/\d+(?:\.\d+)? (?:%|B|KB|KiB)/g);

describe('answers that are none', () => {
  test('pass where they are as recorded', () => {
    expect(judged(() => ({}))).toMatchObject({ verdict: 'PASS', text: null });
    expect(judged(() => ({ responseBytes: 1_900 }))).toMatchObject({ verdict: 'PASS' });
  });

  test('of 200 with an empty body are not comparable, with both numbers', () => {
    const { verdict, text } = judged(() => ({ responseBytes: 0 }));
    expect(verdict).toBe('INCONCLUSIVE');
    expect(numbers(text)).toEqual(['0 B', '1000 B', '100.0 %', '0.0 %']);
  });

  test('of half the size or twice of it are not comparable, by route', () => {
    expect(judged(() => ({ responseBytes: 2_100 })).verdict).toBe('INCONCLUSIVE');
    expect(judged(() => ({ responseBytes: 400 })).verdict).toBe('INCONCLUSIVE');
    // A sixth of the traffic, which leaves the median of all as it was.
    const small = judged((at) => (at % 6 === 0 ? { route: 'POST /small', responseBytes: 10 } : {}));
    expect(small.verdict).toBe('INCONCLUSIVE');
    expect(small.text).toContain('POST /small');
  });

  test('of fewer tokens are not comparable', () => {
    const answer = { ...ANSWERED, outputTokens: 40 };
    expect(judged(() => ({ answer }), { outputTokens: 100 }).verdict).toBe('INCONCLUSIVE');
    expect(judged(() => ({ answer }), { outputTokens: 70 }).verdict).toBe('PASS');
    expect(judged(() => ({ answer }), { outputTokens: null }).verdict).toBe('PASS');
  });

  test('that end for other reasons, or say none, are not comparable, but a few may vary', () => {
    const ended = (now: (at: number) => Send['answer'], recorded: (at: number) => FinishReason | null) =>
      judged((at) => ({ answer: now(at), recorded: { ...RECORDED, finish: recorded(at) } })).verdict;
    const answering = (finish: FinishReason | null) => ({ ...ANSWERED, finish });
    const stop = () => 'stop' as const;
    expect(ended(() => answering('stop'), stop)).toBe('PASS');
    expect(ended(() => answering('length'), stop)).toBe('INCONCLUSIVE');
    expect(ended(() => answering(null), stop)).toBe('INCONCLUSIVE');
    expect(ended((at) => answering(at % 4 === 0 ? 'length' : 'stop'), stop)).toBe('INCONCLUSIVE');
    expect(ended((at) => answering(at % 8 === 0 ? 'length' : 'stop'), stop)).toBe('PASS');
    // A refusal is no sample of an answer: a few are a difference, unless they were recorded.
    const refusing = (nth: number) => (at: number) => (at % nth === 0 ? 'content_filter' : 'stop');
    expect(ended((at) => answering(refusing(20)(at)), stop)).toBe('INCONCLUSIVE');
    expect(ended((at) => answering(refusing(100)(at)), stop)).toBe('PASS');
    expect(ended((at) => answering(refusing(20)(at)), refusing(16))).toBe('PASS');
    const half = (at: number) => (at % 2 === 0 ? 'length' : 'stop');
    expect(ended((at) => answering(half(at + 1)), half)).toBe('PASS');
    // Nothing is known of answers that were not read, here or when they were recorded.
    expect(ended(() => null, stop)).toBe('PASS');
    expect(
      ended(
        () => answering('length'),
        () => null,
      ),
    ).toBe('PASS');
  });

  test('of one model of a route, or only of its streams, are not comparable', () => {
    const small = judged((at) => (at % 5 === 0 ? { model: 'large', responseBytes: 10 } : { model: 'm' }));
    expect(small.verdict).toBe('INCONCLUSIVE');
    expect(small.text).toContain('large');
    const streamed = judged((at) =>
      at % 5 === 0
        ? { streamed: true, responseBytes: 10, recorded: { ...RECORDED, streamed: true } }
        : { recorded: RECORDED },
    );
    expect(streamed.verdict).toBe('INCONCLUSIVE');
  });

  test('that are the same for different requests are not comparable, but as recorded they are', () => {
    const same = (now: (at: number) => number, before: (at: number) => number, segment = () => 'a') =>
      judged((at) => ({
        segment: segment(),
        bodyCrc: now(at),
        recorded: { ...RECORDED, body: before(at) },
      })).verdict;
    const own = (at: number) => at;
    expect(same(() => 1, own)).toBe('INCONCLUSIVE');
    expect(same((at) => (at % 2 === 0 ? 1 : at), own)).toBe('INCONCLUSIVE');
    expect(same(own, own)).toBe('PASS');
    expect(
      same(
        () => 1,
        () => 7,
      ),
    ).toBe('PASS');
    // Numbers of bodies are those of one segment.
    let number = 0;
    expect(
      same(
        () => 1,
        own,
        () => String(number++),
      ),
    ).toBe('PASS');
  });

  test('of a route with fewer than 30 answers say nothing of it', () => {
    const few = judged((at) => (at < 29 ? { route: 'POST /rare', responseBytes: 10 } : {}));
    expect(few.verdict).toBe('PASS');
  });

  test('of error documents under 200 are not comparable, where over 2 % are', () => {
    expect(judged((at) => ({ tellsError: at % 20 === 0 }))).toMatchObject({ verdict: 'INCONCLUSIVE' });
    expect(judged((at) => ({ tellsError: at < 4 }))).toMatchObject({ verdict: 'PASS' });
  });

  test('of a service that answers errors under 200 on purpose are comparable, by the share of each route', () => {
    const purposely = (now: number, before: number) => {
      const sends = good(200).map((each) => ({
        ...each,
        responseBytes: 1_000,
        tellsError: each.index < now,
        recorded: { ...RECORDED, tellsError: each.index >= 200 - before },
      }));
      return judge(contextOf(sends), parseObjectives(['latency: p(95)<100'])).verdict;
    };
    expect(purposely(20, 20)).toBe('PASS');
    expect(purposely(20, 17)).toBe('PASS');
    expect(purposely(20, 15)).toBe('INCONCLUSIVE');
    // A route that never told of errors does so now, and another one no longer does.
    const swapped = judged((at) => ({ route: at < 100 ? 'POST /a' : 'POST /b', tellsError: at < 20 }));
    expect(swapped.text).toContain('POST /a');
  });

  test('of empty bodies are comparable where as many were recorded empty', () => {
    const verdictOf = (now: number, before: number) => {
      const sends = good(200).map((each) => ({
        ...each,
        responseBytes: each.index < now ? 0 : 1_000,
        recorded: { ...RECORDED, bytes: each.index >= 200 - before ? 0 : 1_000 },
      }));
      return judge(contextOf(sends), parseObjectives(['latency: p(95)<100'])).verdict;
    };
    expect(verdictOf(20, 20)).toBe('PASS');
    expect(verdictOf(20, 0)).toBe('INCONCLUSIVE');
  });

  test('of streams that come whole are not comparable, without an objective of streams', () => {
    const whole = judged(() => ({ unstreamed: true, streamed: false }), { streamed: true });
    expect(whole.verdict).toBe('INCONCLUSIVE');
    const streams = judged(() => ({ streamed: true }), { streamed: true });
    expect(streams.verdict).toBe('PASS');
  });

  test('of another status on one route are not comparable, though they are few of all', () => {
    const gone = judged((at) => (at < 60 && at % 12 === 0 ? { status: 404 } : {}), {}, 2_000);
    expect(gone.verdict).toBe('PASS');
    const byRoute = judged(
      (at) => (at < 60 ? { route: 'GET /gone', status: at % 12 === 0 ? 404 : 200 } : {}),
      {},
      2_000,
    );
    expect(byRoute.verdict).toBe('INCONCLUSIVE');
  });

  test('that come far sooner than recorded are a note, because a build may be faster', () => {
    expect(judged(() => ({}), { tookNs: 100e6 })).toEqual({
      verdict: 'PASS',
      text: null,
      notes: expect.arrayContaining(['far_faster']),
    });
    expect(judged(() => ({})).notes).not.toContain('far_faster');
  });
});
