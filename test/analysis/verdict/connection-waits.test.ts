import { describe, expect, test } from 'vitest';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { contextOf, good } from '../../support/run-contexts.ts';

const MS = 1e6;

/** Waited so long for its connection, and was answered as fast as ever. */
const waiting = (send: Send, waitedNs: number): Send => ({
  ...send,
  actualOffsetNs: send.intendedOffsetNs + waitedNs,
  connectionWaitNs: waitedNs,
  startOffsetNs: send.intendedOffsetNs + waitedNs + MS,
  lastByteOffsetNs: send.intendedOffsetNs + waitedNs + 10 * MS,
});

function judged(sends: readonly Send[], slo: string) {
  const statistics = new RunStatistics(0, 'connections');
  for (const { intendedOffsetNs } of sends) statistics.addPlanned(exchangeRow(), intendedOffsetNs);
  statistics.addSends(sends);
  const figures = statistics.figures();
  const { verdict, reasons, notes } = judge(contextOf(sends, { figures }), parseObjectives([slo]));
  const codes = (all: readonly { code: string }[]) => all.map(({ code }) => code);
  return { verdict, reasons: codes(reasons), notes: codes(notes), figures };
}

/** Of a thousand, the last `late` waited for 5 s. */
const run = (late: number, waitedNs = 5_000 * MS) =>
  good(1_000).map((send, at) => waiting(send, at >= 1_000 - late ? waitedNs : 0));

describe('waits for recorded connections', () => {
  test('beyond a hundredth of the requests make no pass, whatever the service latency', () => {
    expect(judged(run(11), 'service: p(90)<50')).toMatchObject({
      verdict: 'INCONCLUSIVE',
      reasons: ['connection_wait'],
    });
    expect(judged(run(10), 'service: p(90)<50')).toMatchObject({ verdict: 'PASS', reasons: [] });
  });

  test('within the bound of lag put nothing off', () => {
    expect(judged(run(1_000, MS), 'service: p(90)<50')).toMatchObject({ verdict: 'PASS', reasons: [] });
  });

  test('are no lag, and what was sent is held against the instants that connections came to', () => {
    const { figures } = judged(run(500), 'service: p(90)<50');
    const { planned, resolved, sent, ksGaps, unordered } = figures.fidelity;
    expect(figures.latency.lag.max).toBe(0);
    expect(planned.spanS).toBeCloseTo(99.9, 3);
    expect(sent).toEqual(resolved);
    expect(sent.spanS).toBeCloseTo(104.9, 3);
    expect([ksGaps, unordered]).toEqual([0, 0]);
  });

  test('prove nothing by scheduled latency or the length of the run, and hide no slow answers', () => {
    expect(judged(run(500), 'latency: p(90)<1000')).toMatchObject({
      verdict: 'INCONCLUSIVE',
      reasons: ['connection_wait'],
    });
    expect(judged(run(500), 'makespan: <101s').verdict).toBe('INCONCLUSIVE');
    const slow = run(500).map((send) => ({
      ...send,
      lastByteOffsetNs: (send.actualOffsetNs ?? 0) + 1_200 * MS,
    }));
    for (const slo of ['latency: p(90)<1000', 'service: p(90)<1000'])
      expect(judged(slow, slo)).toMatchObject({ verdict: 'FAIL', reasons: ['slo_violated'] });
  });

  test('that never ended are no answers of the target', () => {
    const left = run(0).map((send, at) =>
      at % 2 === 0
        ? send
        : { ...send, actualOffsetNs: null, connectionWaitNs: null, error: 'stopped' as const },
    );
    for (const slo of ['service: p(90)<50', 'achieved: rate>0.99']) {
      const { verdict, reasons, figures } = judged(left, slo);
      expect(verdict).toBe('INCONCLUSIVE');
      expect(reasons).toEqual(expect.arrayContaining(['achieved_below', 'connection_wait']));
      const [below] = judge(contextOf(left, { figures }), []).reasons;
      expect(below?.advice).toContain('--connections pooled');
    }
  });
});
