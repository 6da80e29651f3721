import { describe, expect, test } from 'vitest';
import { RunStatistics, totalsOf } from '../../../src/analysis/run/run-statistics.ts';
import { evaluateObjectives, sampleCount } from '../../../src/analysis/verdict/evaluate.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { failed, refused, send } from '../../support/sends.ts';

const MS = 1e6;

function figuresOf(sends: readonly Send[]) {
  const statistics = new RunStatistics();
  for (const [index, each] of [...sends].sort((a, b) => a.index - b.index).entries()) {
    const row = exchangeRow({ arrivalUs: 1_000_000 + index * 100_000, requestBytes: each.requestBytes });
    statistics.addRecorded(row);
    statistics.addPlanned(row, each.intendedOffsetNs);
  }
  statistics.addSends(sends);
  return statistics.figures();
}

function observed(text: string, sends: readonly Send[], interrupted = false) {
  return evaluateObjectives(parseObjectives([text]), figuresOf(sends), interrupted)[0]?.observed;
}

describe('RunStatistics', () => {
  test('counts what became of every send', () => {
    const figures = figuresOf([
      send({ index: 0 }),
      send({ index: 1, status: 404 }),
      send({ index: 2, status: 503 }),
      failed(3),
      failed(4, { error: 'stopped' }),
      refused(5),
      send({ index: 6, actualOffsetNs: null, error: 'stopped' }),
    ]);
    expect(figures.planned).toBe(7);
    expect(totalsOf(figures)).toEqual({
      planned: 7,
      sent: 5,
      completed: 2,
      failed: 3,
      cancelled: 0,
      refused: 1,
    });
    expect(figures.outcomes.statuses).toEqual({ '200': 1, '404': 1, '503': 1 });
    expect(figures.outcomes.errors).toEqual({ reset: 1, stopped: 1 });
    expect(figures.outcomes.stopped).toBe(1);
  });

  test('measures scheduled latency from the plan and service latency from the actual send', () => {
    const figures = figuresOf([send({ index: 0, intendedOffsetNs: 5 * MS, actualOffsetNs: 5.5 * MS })]);
    expect(figures.latency.scheduled.max).toBe(10.5 * MS);
    expect(figures.latency.service.max).toBe(10 * MS);
    expect(figures.latency.lag.max).toBe(0.5 * MS);
    expect(figures.latency.connect.max).toBe(MS);
    expect(figures.makespanNs).toBe(10.5 * MS);
  });

  test('recorded latency leaves out the requests that are not served now', () => {
    const tookMs = (ms: number) => ({
      recorded: { status: 200, bytes: 1, streamed: false, tookNs: ms * MS, tellsError: null },
    });
    const { recordedLatency } = figuresOf([
      send({ index: 0, ...tookMs(20) }),
      failed(1, tookMs(900)),
      send({ index: 2, status: 503, ...tookMs(900) }),
      send({ index: 3, status: 429, ...tookMs(900) }),
      send({ index: 4, cancelled: true, ...tookMs(900) }),
      refused(5, tookMs(900)),
    ]);
    expect(recordedLatency).toMatchObject({ count: 1, max: 20 * MS });
  });

  test('latency covers completed requests only', () => {
    const figures = figuresOf([send({ index: 0 }), failed(1), refused(2), send({ index: 3, status: 500 })]);
    expect(figures.latency.scheduled.count).toBe(1);
    expect(figures.latency.lag.count).toBe(3);
  });

  test('lag and latency are of everything that was sent, however late', () => {
    const sends = [
      send({ index: 0, intendedOffsetNs: 0 }),
      send({ index: 1, intendedOffsetNs: 100 * MS, actualOffsetNs: 500 * MS }),
      failed(2, { intendedOffsetNs: 200 * MS, actualOffsetNs: 500 * MS }),
    ];
    const { latency, outcomes } = figuresOf(sends);
    expect(latency.lag.count).toBe(3);
    expect(latency.lag.max).toBe(400 * MS);
    expect(latency.scheduled.max).toBe(410 * MS);
    expect(outcomes).toMatchObject({ completed: 2, failed: 1 });
  });

  test('takes sends in any order and knows the order they left in', () => {
    const sends = Array.from({ length: 50 }, (_, index) => send({ index }));
    const shuffled = [...sends].sort((a, b) => ((a.index * 7) % 50) - ((b.index * 7) % 50));
    const figures = figuresOf(shuffled);
    expect(figures.fidelity.sent).toMatchObject({ count: 50, cv: 0, ties: 0 });
    expect(figures.fidelity.sent.ratePerSecond).toBe(figures.fidelity.planned.ratePerSecond);
    expect(figures.fidelity).toMatchObject({ ksGaps: 0, mixDistance: 0 });
    expect(figures.fidelity.recordedToPlanned.ksGaps).toBe(0);
    expect(figures.fidelity.unordered).toBe(0);
  });

  test('knows what left after a send that was never reported', () => {
    const statistics = new RunStatistics();
    for (let index = 0; index < 4; index++) statistics.addPlanned(exchangeRow(), index * MS);
    statistics.addSends([send({ index: 0 }), send({ index: 2 }), send({ index: 3 })]);
    expect(statistics.figures().fidelity.sent.count).toBe(3);
  });

  test('does not take bursts at the edges of windows for others than planned because they left microseconds late', () => {
    const bursts = Array.from({ length: 600 }, (_, index) => {
      const intendedOffsetNs = Math.floor(index / 10) * 1_000 * MS;
      const lagNs = 40_000 + ((index * 7_919) % 50) * 1_000;
      return send({
        index,
        intendedOffsetNs,
        actualOffsetNs: intendedOffsetNs + (index % 10) * 60_000 + lagNs,
      });
    });
    const late = { ...bursts[0]!, actualOffsetNs: 400_000 };
    const { planned, sent } = figuresOf([late, ...bursts.slice(1)]).fidelity;
    expect(planned.idc['1']).toBe(0);
    expect(sent.idc['1']).toBe(0);
    expect(sent.peak1s).toBe(10);
  });

  test('shows a mix that staging was not sent', () => {
    const rest = Array.from({ length: 5 }, (_, at) => refused(at + 5));
    const figures = figuresOf([0, 1, 2, 3, 4].map((index) => send({ index, model: 'other' })).concat(rest));
    expect(figures.fidelity.mixDistance).toBe(1);
  });

  test('compares answers below 500 with the recorded ones', () => {
    const statistics = new RunStatistics();
    for (const [index, status] of [200, 200, 200, 429, 503].entries()) {
      statistics.addPlanned(exchangeRow({ status }), index * MS);
    }
    statistics.addSends([200, 200, 401, 401, 500].map((status, index) => send({ index, status })));
    const { statusMix } = statistics.figures();
    expect(statusMix).toMatchObject({ recordedAnswers: 4, sentAnswers: 4, recordedTurnedAway: 0.25 });
    expect(statusMix.sentTurnedAway).toBe(0.5);
    expect(statusMix.recordedRejected).toBe(0.4);
    expect(statusMix.distance).toBe(0.5);
  });

  test('the warm-up is in no figure, however late it ends', () => {
    const sendsOf = (at: number) =>
      [0, 1, 2].map((index) => send({ index, intendedOffsetNs: at + index * 100 * MS }));
    const cold = new RunStatistics();
    for (const each of sendsOf(0)) cold.addPlanned(exchangeRow(), each.intendedOffsetNs);
    cold.addSends(sendsOf(0));
    const warm = new RunStatistics(500 * MS);
    const judged = sendsOf(500 * MS).map((each) => ({ ...each, index: each.index + 3 }));
    for (const each of judged) warm.addPlanned(exchangeRow(), each.intendedOffsetNs);
    const late = send({
      index: 0,
      intendedOffsetNs: 0,
      warmup: true,
      lastByteOffsetNs: 5_000 * MS,
      status: 401,
    });
    warm.addSends([
      judged[0] as Send,
      refused(2, { warmup: true }),
      failed(1, { warmup: true }),
      ...judged.slice(1),
      late,
    ]);
    const { warmup, ...figures } = warm.figures();
    const { warmup: none, ...expected } = cold.figures();
    expect(warmup).toEqual({
      planned: 3,
      sent: 2,
      completed: 1,
      failed: 1,
      cancelled: 0,
      refused: 1,
      endedLate: 1,
    });
    expect(none.planned).toBe(0);
    expect(figures.fidelity).toEqual(expected.fidelity);
    expect(figures).toMatchObject({
      planned: 3,
      outcomes: expected.outcomes,
      plannedSpanNs: expected.plannedSpanNs,
      endOffsetNs: expected.endOffsetNs,
      makespanNs: expected.makespanNs,
    });
    expect(figures.latency.scheduled.max).toBe(10 * MS);
    expect(figures.latency.service.count).toBe(3);
  });

  test('names some of what failed, by kind and by id', () => {
    const statistics = new RunStatistics();
    const sends = [
      ...[0, 1, 2, 3].map((index) => failed(index)),
      send({ index: 4, status: 503 }),
      send({ index: 5, status: 404 }),
      refused(6),
    ];
    statistics.addSends(sends);
    const { errorExamples } = statistics.figures().outcomes;
    const id = (index: number) => ({ index, segment: sends[0]?.segment, exchangeId: index + 1 });
    expect(errorExamples).toEqual({ reset: [id(0), id(1), id(2)], status_503: [id(4)] });
  });

  test('an empty run has figures, all of them empty', () => {
    const figures = new RunStatistics().figures();
    expect(figures).toMatchObject({ planned: 0, recorded: 0, makespanNs: null, endOffsetNs: 0 });
    expect(figures.latency.scheduled.count).toBe(0);
    expect(figures.fidelity).toMatchObject({ ksGaps: null, mixDistance: null });
    expect(figures.fidelity.duplicates.ratio).toBeNull();
  });

  test('counts duplicates of planned requests only where the body is known', () => {
    const statistics = new RunStatistics();
    const hash = Buffer.alloc(16, 7);
    statistics.addPlanned(exchangeRow({ requestHash: hash }), 0);
    statistics.addPlanned(exchangeRow({ requestHash: hash }), 1);
    statistics.addPlanned(exchangeRow({ requestHash: null, requestStored: false }), 2);
    expect(statistics.figures().fidelity.duplicates).toEqual({ count: 2, ratio: 0.5, exact: true });
  });
});

describe('evaluateObjectives', () => {
  const ten = (count: number) => Array.from({ length: count }, (_, index) => send({ index }));

  test('counts failed and refused requests as infinitely slow', () => {
    const sends = [...ten(97), failed(97), refused(98), refused(99)];
    expect(observed('latency: p(97)<200', sends)).toBe(10);
    expect(observed('latency: p(98)<200', sends)).toBe(Number.POSITIVE_INFINITY);
    expect(observed('service: p(98)<200', sends)).toBe(Number.POSITIVE_INFINITY);
    expect(observed('latency: max<200', sends)).toBe(Number.POSITIVE_INFINITY);
    expect(observed('latency: avg<200', sends)).toBe(Number.POSITIVE_INFINITY);
    expect(observed('latency: min<200', sends)).toBe(10);
    expect(sampleCount(figuresOf(sends), false, { metric: 'latency', limits: [] })).toBe(100);
  });

  test('takes errors over what was sent and achieved over what was planned', () => {
    const sends = [...ten(7), failed(7), refused(8), refused(9)];
    expect(observed('errors: rate<0.5', sends)).toBe(1 / 8);
    expect(observed('errors: count<5', sends)).toBe(1);
    expect(observed('achieved: rate>0.99', sends)).toBe(0.8);
    expect(observed('achieved: count>1', sends)).toBe(8);
    expect(observed('makespan: <1s', sends)).toBe(750);
  });

  test('blames nobody for what an interruption cut off', () => {
    const sends = [...ten(9), failed(9, { error: 'stopped' })];
    expect(observed('errors: rate<0.5', sends)).toBe(0.1);
    expect(observed('errors: rate<0.5', sends, true)).toBe(0);
    expect(observed('latency: p(99)<200', sends)).toBe(Number.POSITIVE_INFINITY);
    expect(observed('latency: p(99)<200', sends, true)).toBe(10);
  });

  test.each([
    ['errors: count<1', false],
    ['errors: count<=1', true],
    ['achieved: count>1', false],
    ['achieved: count>=1', true],
  ])('takes %s at its word', (objective, ok) => {
    const results = evaluateObjectives(parseObjectives([objective]), figuresOf([failed(0)]), false);
    expect(results[0]?.ok).toBe(ok);
  });

  test('says nothing of what was not measured', () => {
    const [latency, errors] = evaluateObjectives(
      parseObjectives(['latency: p(99)<200']),
      figuresOf([]),
      false,
    );
    expect(latency).toMatchObject({ observed: null, ok: null });
    expect(errors).toMatchObject({ observed: null, ok: null });
  });
});
