import { describe, expect, test } from 'vitest';
import { CalibrationStatistics } from '../../../src/analysis/run/calibration.ts';
import { reason } from '../../../src/analysis/verdict/reasons.ts';
import type { RunContext } from '../../../src/analysis/verdict/run-context.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { statusOfVerdict } from '../../../src/cli/exit.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import type { Calibration } from '../../../src/documents/replay.ts';
import { contextOf, good } from '../../support/run-contexts.ts';

const MS = 1e6;
const BOUNDS = { p50Factor: 2, statusShare: 0.02, sizeShare: 0.2 };

function calibrated(facts: Partial<Calibration> = {}): Calibration {
  return {
    ...new CalibrationStatistics(BOUNDS).report(false),
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
  const judgement = judge(context, parseObjectives([slo]));
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
    expect(statusOfVerdict(judgement)).toBe(4);
    for (const { text, advice } of judge(context, []).reasons) {
      expect(text).not.toBe('');
      expect(advice).toMatch(/^[A-Z].*\.$/);
    }
  });

  test('says of a calibration that could not be made why, and of one that held nothing', () => {
    const uncalibrated = (calibration: Calibration) =>
      codesOf(contextOf(good(200), { calibration })).notes.find(({ code }) => code === 'uncalibrated')?.text;
    const textOf = (why: 'no_latency' | 'few_pairs', pairs: number) =>
      reason('uncalibrated', { why, pairs }).text;
    expect(uncalibrated(calibrated())).toBeUndefined();
    expect(uncalibrated(calibrated({ representative: null }))).toBe(textOf('no_latency', 100));
    expect(uncalibrated(calibrated({ representative: null, pairs: 0 }))).toBe(textOf('few_pairs', 0));
  });
});
