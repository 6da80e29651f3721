import { beforeEach, describe, expect, it } from 'vitest';
import { RestartPolicy } from '../../../src/proxy/control/recorder-supervisor.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const BARREN = { committed: false, livedMs: 300 };
const WORKING = { committed: true, livedMs: 300 };
const MINUTE_NS = 60e9;

let clock: ManualClock;
let policy: RestartPolicy;

beforeEach(() => {
  clock = new ManualClock();
  policy = new RestartPolicy(clock);
});

function deaths(count: number, life: typeof BARREN, everyNs: number): number[] {
  return Array.from({ length: count }, () => {
    clock.advance(everyNs);
    return policy.died(life);
  });
}

describe('a recorder that dies', () => {
  it('before its first commit is given up after five times in ten minutes, and probed each minute', () => {
    expect(deaths(4, BARREN, 1e9)).toEqual([200, 400, 800, 1_600]);
    expect(policy.off).toBe(false);
    expect(deaths(3, BARREN, MINUTE_NS)).toEqual([60_000, 60_000, 60_000]);
    expect(policy.off).toBe(true);
  });

  it('stays given up for probes that die too, however far apart they are', () => {
    deaths(5, BARREN, 1e9);
    expect(deaths(20, BARREN, 30 * MINUTE_NS)).toEqual(new Array(20).fill(60_000));
  });

  it('five times over more than ten minutes is not given up', () => {
    deaths(20, BARREN, 3 * MINUTE_NS);
    expect(policy.off).toBe(false);
  });

  it('is back with the first commit of a probe', () => {
    deaths(5, BARREN, 1e9);
    policy.survived();
    expect(policy.off).toBe(false);
    expect(deaths(4, BARREN, 1e9).at(-1)).toBeLessThanOrEqual(4_000);
    expect(policy.off).toBe(false);
  });

  it('after it recorded is never given up, nor started every 200 ms for ever', () => {
    const delays = deaths(50, WORKING, 1e9);
    expect(delays.slice(0, 4)).toEqual([200, 400, 800, 1_000]);
    expect(new Set(delays.slice(3))).toEqual(new Set([1_000]));
    expect(policy.off).toBe(false);
  });

  it('after a calm life is started again at once', () => {
    deaths(10, WORKING, 1e9);
    expect(policy.died({ committed: true, livedMs: 10_000 })).toBe(200);
  });
});

describe('a capture that cannot be had', () => {
  it('is tried for ever, at most four seconds apart, and is no death', () => {
    const delays = Array.from({ length: 40 }, () => policy.nextDelayMs());
    expect(delays.slice(0, 6)).toEqual([200, 400, 800, 1_600, 3_200, 4_000]);
    expect(Math.max(...delays)).toBe(4_000);
    expect(policy.off).toBe(false);
  });
});

it('forgets all of it when an operator asks for a fresh attempt', () => {
  deaths(6, BARREN, 1e9);
  policy.reset();
  expect(policy.off).toBe(false);
  expect(policy.died(BARREN)).toBe(200);
});
