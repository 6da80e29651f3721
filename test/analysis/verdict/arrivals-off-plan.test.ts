import { describe, expect, test } from 'vitest';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { contextOf, good } from '../../support/run-contexts.ts';

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
});
