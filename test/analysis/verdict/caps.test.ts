import { describe, expect, test } from 'vitest';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { contextOf, good, HEALTHY } from '../../support/run-contexts.ts';
import { refused, send } from '../../support/sends.ts';

const LIMITS = { maxInFlight: 8, maxInFlightBytes: 65_536, maxRatePerSecond: 10, refusedForRate: 0 };

function capOf(refusedForBytes: number, refusedForRate: number) {
  const refused = Array.from({ length: 60 }, (_, at) =>
    send({ index: 300 + at, actualOffsetNs: null, lastByteOffsetNs: null, status: null, refused: true }),
  );
  const health = { ...HEALTHY, refusedForBytes, caps: { ...LIMITS, refusedForRate } };
  const { reasons } = judge(contextOf([...good(300), ...refused], { health }), []);
  const { text, advice } = reasons.find(({ code }) => code === 'in_flight_cap') ?? { text: '', advice: '' };
  return { named: text.match(/\d+ by --[a-z-]+ [^,]+/g), raise: advice.match(/--[a-z-]+/g) };
}

describe('the reason of refused requests names the cap', () => {
  test('with its value, and says which one to raise', () => {
    expect(capOf(0, 0)).toEqual({ named: ['60 by --max-in-flight 8'], raise: ['--max-in-flight'] });
    expect(capOf(60, 0)).toEqual({
      named: ['60 by --max-in-flight bytes 64.0 KiB'],
      raise: ['--max-in-flight'],
    });
    expect(capOf(0, 60)).toEqual({ named: ['60 by --max-rate 10/s'], raise: ['--max-rate'] });
  });

  test('and each where several did', () => {
    expect(capOf(10, 20)).toEqual({
      named: ['30 by --max-in-flight 8', '10 by --max-in-flight bytes 64.0 KiB', '20 by --max-rate 10/s'],
      raise: ['--max-in-flight', '--max-in-flight', '--max-rate'],
    });
  });

  test('of this host, where it had no socket for them: nothing that the target did', () => {
    const error = 'no_socket' as const;
    const unsent = Array.from({ length: 60 }, (_, at) => refused(300 + at, { error, status: null }));
    const slo = parseObjectives(['errors: rate<0.01', 'latency: p(90)<500']);
    const { verdict, reasons } = judge(contextOf([...good(300), ...unsent], { health: HEALTHY }), slo);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.find(({ code }) => code === 'in_flight_cap')?.text).toMatch(/60 by the open files or/);
    expect(reasons.map(({ code }) => code)).not.toContain('slo_violated');
  });
});
