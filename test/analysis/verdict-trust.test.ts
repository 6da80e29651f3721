import { describe, expect, test } from 'vitest';
import { type Calibration, CalibrationStatistics } from '../../src/analysis/calibration.ts';
import type { RunContext } from '../../src/analysis/run-context.ts';
import { RunStatistics } from '../../src/analysis/run-statistics.ts';
import { parseSlo } from '../../src/analysis/slo.ts';
import { exitCodeOf, judge } from '../../src/analysis/verdict.ts';
import type { Send } from '../../src/core/run.ts';
import { exchangeRow } from '../support/exchange-row.ts';
import { contextOf, good, HEALTHY, late } from '../support/run-contexts.ts';
import { refused } from '../support/sends.ts';

const MS = 1e6;
const BOUNDS = { p50Factor: 2, statusShare: 0.02, sizeShare: 0.2 };

function calibrated(facts: Partial<Calibration> = {}): Calibration {
  return {
    ...new CalibrationStatistics(BOUNDS).report({ interrupted: false, stalls: [] }),
    pairs: 100,
    representative: true,
    ...facts,
  };
}

function firstTokenAt(offsetNs: number): Send['answer'] {
  return {
    firstTokenOffsetNs: offsetNs,
    lastTokenOffsetNs: offsetNs,
    contentEvents: 1,
    gapMaxNs: null,
    gaps: null,
    promptTokens: null,
    outputTokens: null,
    finish: 'stop',
  };
}

function codesOf(context: RunContext, slo = 'latency: p(95)<5000') {
  const judgement = judge(context, parseSlo([slo]));
  return { ...judgement, reasons: judgement.reasons.map(({ code }) => code) };
}

describe('a run that cannot be trusted', () => {
  const cases: [string, string[], RunContext][] = [
    [
      'staging that does not stand for production',
      ['staging_not_representative'],
      contextOf(good(200), {
        calibration: calibrated({ representative: false, differences: ['median latency'] }),
      }),
    ],
    [
      'a tenth of the traffic played as if it were all of it',
      ['multiplier_not_reached'],
      contextOf(good(200), { coverage: { share: 0.1, unexplained: 0 }, effectiveMultiplier: 0.1 }),
    ],
    [
      'a tenth of the traffic that nobody sampled on purpose',
      ['coverage_unexplained'],
      contextOf(good(200), { coverage: { share: 0.1, unexplained: 0.9 } }),
    ],
    [
      'a sender that starves for its processor',
      ['sender_busy', 'cpu_throttled'],
      contextOf(good(200), { health: { ...HEALTHY, busyShare: 0.99, throttled: true } }),
    ],
  ];

  test('streams that nobody could read leave their objectives open, and no others', () => {
    const streams = (unread: number) =>
      good(200).map((each, index) => ({
        ...each,
        streamed: true,
        answer: index < unread ? null : firstTokenAt(each.intendedOffsetNs + 5 * MS),
      }));
    const slo = 'ttft: p(90)<1000';
    expect(codesOf(contextOf(streams(2)), slo)).toMatchObject({ verdict: 'PASS' });
    expect(codesOf(contextOf(streams(3)), slo)).toMatchObject({
      verdict: 'INCONCLUSIVE',
      reasons: ['streams_unread'],
    });
    expect(codesOf(contextOf(streams(200)))).toMatchObject({ verdict: 'PASS' });
  });

  test.each(cases)('%s is INCONCLUSIVE and ends with 4', (_, codes, context) => {
    const judgement = codesOf(context);
    expect(judgement).toMatchObject({ verdict: 'INCONCLUSIVE', valid: false, reasons: codes });
    expect(exitCodeOf(judgement)).toBe(4);
    for (const { text, advice } of judge(context, []).reasons) {
      expect(text).not.toBe('');
      expect(advice).toMatch(/^[A-Z].*\.$/);
    }
  });

  test('where we were late, what we refused proves nothing against the target; else it counts as never answered', () => {
    const some = (sends: readonly Send[]) => [
      ...sends,
      ...[200, 201, 202, 203].map((index) => refused(index)),
    ];
    const slo = 'latency: p(99)<50';
    expect(codesOf(contextOf(some(good(200))), slo)).toMatchObject({
      verdict: 'FAIL',
      reasons: ['slo_violated'],
    });
    const excused = codesOf(contextOf(some(late(200))), slo);
    expect(excused.verdict).toBe('INCONCLUSIVE');
    expect(excused.reasons).toEqual(expect.arrayContaining(['lag_over_bound', 'in_flight_cap']));
    const slow = late(200).map((each) => ({
      ...each,
      lastByteOffsetNs: (each.actualOffsetNs ?? 0) + 60 * MS,
    }));
    expect(codesOf(contextOf(some(slow)), slo).verdict).toBe('FAIL');
  });

  test('names a standstill of ours before it takes sessions that came due late for the doing of the target', () => {
    const sends = good(200);
    const statistics = new RunStatistics(0, 'sessions');
    for (const { intendedOffsetNs } of sends) statistics.addPlanned(exchangeRow(), intendedOffsetNs);
    statistics.addSends(sends);
    const advices = [[], [{ fromOffsetNs: 0, toOffsetNs: 2_500 * MS }]].map((stalls) => {
      const figures = statistics.figures(stalls);
      const health = { ...HEALTHY, stalls };
      const { reasons } = judge(contextOf(sends, { figures, health, effectiveMultiplier: 0.9 }), []);
      return reasons.find(({ code }) => code === 'multiplier_not_reached')?.advice;
    });
    expect(advices[0]).toMatch(/^The target slowed its sessions down/);
    expect(advices[1]).toMatch(/^We stood still ourselves/);
  });

  test('says of a calibration that could not be made why, and of one that held nothing', () => {
    const uncalibrated = (calibration: Calibration) =>
      codesOf(contextOf(good(200), { calibration })).notes.find(({ code }) => code === 'uncalibrated')?.text;
    expect(uncalibrated(calibrated())).toBeUndefined();
    expect(uncalibrated(calibrated({ representative: null }))).toContain('no latency');
    expect(uncalibrated(calibrated({ representative: null, pairs: 0 }))).toContain(': 0');
  });
});
