import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDemandEvent, parseGrowth } from '../../../src/replay/options/parsers.ts';

const REFUSED = expect.objectContaining({
  code: 'OPTION_INVALID',
  message: expect.stringContaining('--it: "'),
});

describe('growth', () => {
  test.each([
    ['8%/month', 0.08],
    ['+8 % / month', 0.08],
    ['-2.5%/month', -0.025],
    ['0%/year', 0],
    ['100%/year', 2 ** (1 / 12) - 1],
    ['10%/quarter', 1.1 ** (1 / 3) - 1],
    ['1%/week', 1.01 ** (365 / 84) - 1],
  ])('%s is read as a share of a month', (text, share) => {
    expect(parseGrowth(text, '--it')).toBeCloseTo(share, 12);
  });

  test.each([
    '8',
    '8%',
    '0.08/month',
    '8%/day',
    '8%/constructor',
    '-100%/month',
    '5000%/month',
    '',
    '%/month',
  ])('%j is refused', (text) => {
    expect(() => parseGrowth(text, '--it')).toThrow(REFUSED);
  });
});

describe('an event', () => {
  test('has a day and a multiplier', () => {
    expect(parseDemandEvent('2027-01-15=1.4x', '--it')).toEqual({ day: '2027-01-15', times: 1.4 });
    expect(parseDemandEvent(' 2028-02-29 = 0.5', '--it')).toEqual({ day: '2028-02-29', times: 0.5 });
  });

  test.each([
    '2027-01-15',
    '1.4x',
    '2027-01-15=',
    '2027-01-15=0x',
    '2027-02-30=2x',
    '2027-13-01=2x',
    '15.1.=2x',
  ])('%j is refused', (text) => {
    expect(() => parseDemandEvent(text, '--it')).toThrow();
  });
});

test('any other text is refused with its reason, or read', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const parse of [parseGrowth, parseDemandEvent]) {
        try {
          parse(text, '--it');
        } catch (error) {
          expect(error).toMatchObject({ code: 'OPTION_INVALID' });
        }
      }
    }),
  );
});
