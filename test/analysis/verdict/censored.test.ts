import { describe, expect, test } from 'vitest';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { contextOf, good } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';

const MS = 1e6;

/** Left so long after the send, without a byte of an answer. */
function left(index: number, afterMs: number, parts: Partial<Send> = {}): Send {
  const atNs = index * 100 * MS;
  return send({
    index,
    cancelled: true,
    status: null,
    firstByteOffsetNs: null,
    lastByteOffsetNs: atNs + afterMs * MS,
    ...parts,
  });
}

/** The last `of` of `count` requests were left. */
function withLeft(count: number, of: number, afterMs: number, parts: Partial<Send> = {}): Send[] {
  return [
    ...good(count - of),
    ...Array.from({ length: of }, (_, at) => left(count - of + at, afterMs, parts)),
  ];
}

function judged(sends: readonly Send[], slo: string) {
  const { verdict, reasons } = judge(contextOf(sends), parseObjectives([slo, 'errors: rate<0.5']));
  return [verdict, ...reasons.map(({ code }) => code)];
}

describe('a request whose client left before its answer', () => {
  test('is no pass where a third is never answered', () => {
    expect(judged(withLeft(1_500, 500, 150), 'latency: p(99)<500')).toEqual(['INCONCLUSIVE', 'censored']);
  });

  test('takes no pass where the objective holds with every one of them never answered', () => {
    expect(judged(withLeft(1_500, 500, 150), 'latency: p(60)<500')).toEqual(['PASS']);
    expect(judged(withLeft(1_500, 10, 150), 'latency: p(99)<500')).toEqual(['PASS']);
  });

  test('violates an objective by the time that we waited for it', () => {
    expect(judged(withLeft(1_500, 500, 600), 'latency: p(99)<500')).toEqual(['FAIL', 'slo_violated']);
  });

  test('may have failed, where not even its status had come', () => {
    const slo = ['latency: p(50)<500'];
    const verdictOf = (sends: readonly Send[]) => judge(contextOf(sends), parseObjectives(slo));
    expect(verdictOf(withLeft(1_500, 100, 150))).toMatchObject({ verdict: 'INCONCLUSIVE' });
    expect(verdictOf(withLeft(1_500, 100, 150, { status: 200 }))).toMatchObject({ verdict: 'PASS' });
  });

  test('counts as far as its stream came', () => {
    const stream = (each: Send, firstMs: number | null, leftMs: number): Send => {
      const ns = (ms: number) => each.intendedOffsetNs + ms * MS;
      return {
        ...each,
        cancelled: true,
        streamed: true,
        lastByteOffsetNs: ns(leftMs),
        answer: {
          firstTokenOffsetNs: firstMs === null ? null : ns(firstMs),
          lastTokenOffsetNs: firstMs === null ? null : ns(firstMs),
          contentEvents: firstMs === null ? 0 : 1,
          gapMaxNs: null,
          gaps: null,
          promptTokens: null,
          outputTokens: null,
          finish: null,
        },
      };
    };
    const begun = good(210).map((each) => (each.index < 10 ? each : stream(each, 20, 400)));
    expect(judged(begun, 'ttft: p(95)<100')).toEqual(['PASS']);
    const some = (parts: readonly [number | null, number]) =>
      begun.map((each, at) => (at % 10 === 0 && at >= 10 ? stream(each, ...parts) : each));
    expect(judged(some([null, 90]), 'ttft: p(95)<100')).toEqual(['INCONCLUSIVE', 'censored']);
    expect(judged(some([null, 300]), 'ttft: p(95)<100')).toEqual(['FAIL', 'slo_violated']);
    // Its next token would have come 380 ms after the first at the soonest.
    expect(judged(begun, 'itl: p(90)<300')).toEqual(['FAIL', 'slo_violated']);
    expect(judged(begun, 'itl: p(90)<500')).toEqual(['INCONCLUSIVE', 'censored']);
  });
});
