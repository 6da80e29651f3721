import { describe, expect, test } from 'vitest';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { contextOf, good } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';

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

  /** Each of a series of gaps, with a share of the sends late: they leave together. */
  const even = (ratePerSecond: number, late: (index: number) => number) =>
    Array.from({ length: 4_000 }, (_, index) => {
      const intendedOffsetNs = (index * 1e9) / ratePerSecond;
      return send({ index, intendedOffsetNs, actualOffsetNs: intendedOffsetNs + late(index) * 1e6 });
    });

  test.each([
    // A pause of 5 ms in each 200 ms: CV 0.36.
    ['a late percent of 1,000/s is no burst', even(1_000, (at) => Math.max(0, 5 - (at % 200))), false],
    ['ten at once are one', even(1_000, (at) => 10 - (at % 10)), true],
    ['at 100/s a timer moves nothing', even(100, (at) => (at % 10 === 0 ? 9.9 : 0)), true],
  ])('%s', (_title, sends, isOff) => {
    const codes = judge(contextOf(sends), []).reasons.map(({ code }) => code);
    expect(codes).toEqual(isOff ? ['arrivals_off_plan'] : []);
  });
});
