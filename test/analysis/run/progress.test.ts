import { describe, expect, test } from 'vitest';
import { RunPulse } from '../../../src/analysis/run/progress.ts';
import { failed, refused, send } from '../../support/sends.ts';

const MS = 1e6;

describe('RunPulse', () => {
  test('counts what happened since the last look, and adds up to the run', () => {
    const pulse = new RunPulse();
    pulse.add([send({ index: 0 }), failed(1), refused(2)]);
    expect(pulse.take({ elapsedNs: 1_000 * MS, outstanding: 4, inFlight: 4, waiting: 0 })).toEqual({
      elapsedNs: 1_000 * MS,
      spanNs: 1_000 * MS,
      offered: 7,
      achieved: 2,
      inFlight: 4,
      waiting: 0,
      lagP99Us: 0,
      errors: 1,
      refused: 1,
    });
    pulse.add([3, 4, 5, 6].map((index) => send({ index })));
    const rest = pulse.take({ elapsedNs: 1_500 * MS, outstanding: 0, inFlight: 0, waiting: 0 });
    expect(rest).toMatchObject({ spanNs: 500 * MS, offered: 0, achieved: 4, errors: 0, refused: 0 });
  });

  test('never takes back what it said was offered', () => {
    const pulse = new RunPulse();
    expect(pulse.take({ elapsedNs: 1, outstanding: 5, inFlight: 5, waiting: 0 }).offered).toBe(5);
    expect(pulse.take({ elapsedNs: 2, outstanding: 3, inFlight: 3, waiting: 0 }).offered).toBe(0);
    expect(pulse.take({ elapsedNs: 3, outstanding: 6, inFlight: 6, waiting: 0 }).offered).toBe(1);
  });

  test('has the lag of what ended since, and none where nothing did', () => {
    const pulse = new RunPulse();
    pulse.add([send({ index: 0, intendedOffsetNs: 0, actualOffsetNs: 250 * MS })]);
    expect(pulse.take({ elapsedNs: 1, outstanding: 0, inFlight: 0, waiting: 0 }).lagP99Us).toBe(250_000);
    expect(pulse.take({ elapsedNs: 2, outstanding: 0, inFlight: 0, waiting: 0 }).lagP99Us).toBeNull();
  });

  test('does not take the wait for a recorded connection for lag', () => {
    const pulse = new RunPulse();
    const waited = { intendedOffsetNs: 0, actualOffsetNs: 250 * MS, connectionWaitNs: 250 * MS };
    pulse.add([send({ index: 0, ...waited })]);
    expect(pulse.take({ elapsedNs: 1, outstanding: 0, inFlight: 0, waiting: 0 }).lagP99Us).toBe(0);
  });
});
