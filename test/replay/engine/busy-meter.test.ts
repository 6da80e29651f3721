import { describe, expect, test } from 'vitest';
import { BusyMeter } from '../../../src/replay/engine/health.ts';

const S = 1_000_000_000;

describe('the busy meter', () => {
  test('takes sleep and waiting awake out of the share of work', () => {
    let idleNs = 5 * S;
    const meter = new BusyMeter(100 * S, () => idleNs);
    idleNs += 2 * S;
    for (let turn = 0; turn <= 50_000; turn += 1) meter.turn(100 * S + turn * 20_000, 7);
    meter.rest();
    expect(meter.shares(104 * S)).toEqual({ busyShare: 0.25, busyShareMax10s: 0.25 });
  });

  test('takes what a turn did, or what it took beyond waiting, for work', () => {
    const meter = new BusyMeter(0, () => 0);
    meter.turn(0, 1);
    meter.turn(20_000, 2);
    meter.turn(1 * S, 2);
    expect(meter.shares(1 * S).busyShare).toBeCloseTo(1 - 20_000 / S, 9);
  });

  test('remembers the worst ten seconds of a run that was idle on the whole', () => {
    let idleNs = 0;
    const meter = new BusyMeter(0, () => idleNs);
    for (let second = 1; second <= 60; second++) {
      // Busy from 20 s to 30 s, asleep before and after.
      idleNs += second > 20 && second <= 30 ? 0.1 * S : 1 * S;
      meter.tick(second * S);
    }
    const { busyShare, busyShareMax10s } = meter.shares(60 * S);
    expect(busyShare).toBeCloseTo(9 / 60, 9);
    expect(busyShareMax10s).toBeCloseTo(0.9, 9);
  });

  test('never leaves the range from 0 to 1', () => {
    const meter = new BusyMeter(0, () => 0);
    expect(meter.shares(0).busyShare).toBe(0);
    for (let turn = 0; turn <= 250_000; turn += 1) meter.turn(turn * 20_000, 7);
    expect(meter.shares(1 * S).busyShare).toBe(0);
  });
});
