import { describe, expect, test } from 'vitest';
import { JUDGEMENT_BOUNDS } from '../../src/analysis/judgement-bounds.ts';
import { parseSlo } from '../../src/analysis/slo.ts';
import { judge } from '../../src/analysis/verdict.ts';
import { mismatch, SAME } from '../../src/core/answer-check.ts';
import { contextOf, good } from '../support/run-contexts.ts';
import { failed } from '../support/sends.ts';

const COALESCED = { ...JUDGEMENT_BOUNDS, coalesceNs: 1e6 };

describe('arrivals as they were sent', () => {
  test.each([
    ['CV', 1, 1.2, false],
    ['CV', 1, 1.26, true],
    ['CV', 1, 0.74, true],
    ['IDC 60 s', 16, 14.5, false],
    ['IDC 60 s', 16, 14.3, true],
    ['IDC 60 s', null, 14.3, false],
    ['IDC 60 s', 16, null, false],
  ])('%s planned %d and sent %d is off the plan: %s', (name, planned, sent, isOff) => {
    const context = contextOf(good(200));
    const { fidelity } = context.figures;
    const figure = (value: number | null) =>
      name === 'CV' ? { cv: value } : { idc: { ...fidelity.planned.idc, '60': value } };
    const figures = {
      ...context.figures,
      fidelity: {
        ...fidelity,
        planned: { ...fidelity.planned, ...figure(planned) },
        sent: { ...fidelity.sent, ...figure(sent) },
      },
    };
    const judgement = judge({ ...context, figures }, []);
    expect(judgement.reasons.map(({ code }) => code)).toEqual(isOff ? ['arrivals_off_plan'] : []);
    if (isOff) expect(judgement.reasons[0]?.text).toContain(name);
  });

  test('where they were to leave together are held by gaps less that lateness, and by all else', () => {
    const context = contextOf(good(200));
    const { fidelity } = context.figures;
    const judged = (cvLessCoalesce: number, idc = 1) => {
      const idcOf = (value: number) => ({ ...fidelity.planned.idc, '0.1': value });
      const streams = {
        planned: { ...fidelity.planned, cv: 0.1, idc: idcOf(1) },
        sent: { ...fidelity.sent, cv: 2, idc: idcOf(idc) },
        cvLessCoalesce,
      };
      const figures = { ...context.figures, fidelity: { ...fidelity, ...streams } };
      return judge({ ...context, figures }, [], COALESCED).reasons;
    };
    expect(judged(0.34)).toEqual([]);
    expect(judged(0.36)[0]?.text).toContain('CV less --coalesce 0.36 for 0.10');
    expect(judged(0.1, 2)[0]?.text).toContain('IDC 0.1 s');
  });
});

describe('what a target does with sends that were to leave together', () => {
  test.each(['latency: p(95)<1', 'service: p(95)<1', 'errors: rate<0.01', 'makespan: <1ms'])(
    'proves no FAIL of %s, and is told of',
    (objective) => {
      const context = contextOf([...good(190), ...Array.from({ length: 10 }, () => failed(200))]);
      const objectives = parseSlo([objective]);
      expect(judge(context, objectives)).toMatchObject({ verdict: 'FAIL' });
      const { verdict, reasons, notes } = judge(context, objectives, COALESCED);
      expect(verdict).toBe('INCONCLUSIVE');
      // With an objective so many failures break one of their own.
      expect([...new Set(reasons.map(({ code }) => code))]).toEqual(['violated_by_our_lag']);
      expect(reasons[0]?.advice).toContain('without --coalesce');
      expect(notes.map(({ code }) => code)).toContain('coalesced');
    },
  );

  test('proves no FAIL by answers that are none either, and passes by none', () => {
    const refused = mismatch('status');
    const context = contextOf(
      good(200).map((send, at) => ({ ...send, check: at % 5 === 0 ? refused : SAME })),
    );
    const objectives = parseSlo(['mismatch: rate<0.01']);
    expect(judge(context, objectives)).toMatchObject({ verdict: 'FAIL' });
    expect(judge(context, objectives, COALESCED)).toMatchObject({
      verdict: 'INCONCLUSIVE',
      reasons: [{ code: 'violated_by_our_lag' }],
    });
  });

  test('may pass', () => {
    const { verdict } = judge(contextOf(good(200)), parseSlo(['latency: p(95)<500']), COALESCED);
    expect(verdict).toBe('PASS');
  });
});
