import { describe, expect, test } from 'vitest';
import { JUDGEMENT_BOUNDS } from '../../src/analysis/judgement-bounds.ts';
import { judge } from '../../src/analysis/verdict.ts';
import { contextOf, good } from '../support/run-contexts.ts';

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

  test('gaps are not judged where sends were to leave together, and all else is', () => {
    const context = contextOf(good(200));
    const { fidelity } = context.figures;
    const judged = (planned: object, sent: object) => {
      const streams = {
        planned: { ...fidelity.planned, ...planned },
        sent: { ...fidelity.sent, ...sent },
      };
      const figures = { ...context.figures, fidelity: { ...fidelity, ...streams } };
      const bounds = { ...JUDGEMENT_BOUNDS, coalesceNs: 1e6 };
      return judge({ ...context, figures }, [], bounds).reasons.map(({ code }) => code);
    };
    expect(judged({ cv: 0 }, { cv: 2 })).toEqual([]);
    const idc = (value: number) => ({ idc: { ...fidelity.planned.idc, '0.1': value } });
    expect(judged({ cv: 0, ...idc(1) }, { cv: 2, ...idc(2) })).toEqual(['arrivals_off_plan']);
  });
});
