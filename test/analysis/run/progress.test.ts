import { describe, expect, test } from 'vitest';
import { RunPulse } from '../../../src/analysis/run/progress.ts';
import { failed, refused, send } from '../../support/sends.ts';

const MS = 1e6;

describe('RunPulse', () => {
  test('counts what happened since the last look, and adds up to the run', () => {
    const pulse = new RunPulse();
    pulse.add([send({ index: 0 }), failed(1), refused(2)]);
    expect(pulse.take({ elapsedNs: 1_000 * MS, outstanding: 4, inFlight: 4, waiting: 0 })).toMatchObject({
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

  test('has the latency of what was served since, from the planned instant, and none of what failed', () => {
    const pulse = new RunPulse();
    const late = { intendedOffsetNs: 0, actualOffsetNs: 10 * MS, lastByteOffsetNs: 30 * MS };
    pulse.add([
      send({ index: 0, ...late }),
      send({ index: 1, ...late, status: 500 }),
      send({ index: 2, ...late, status: 429 }),
    ]);
    const { latencyMs, ttftMs } = pulse.take({ elapsedNs: 1, outstanding: 0, inFlight: 0, waiting: 0 });
    expect(latencyMs).toEqual({ p50: 30, p95: 30, p99: 30, max: 30 });
    expect(ttftMs.p50).toBeNull();
    const next = pulse.take({ elapsedNs: 2, outstanding: 0, inFlight: 0, waiting: 0 });
    expect(next.latencyMs.p50).toBeNull();
  });

  test('has no p99 of a few requests: each percentile is over as many spans as it needs', () => {
    const pulse = new RunPulse();
    const take = (second: number, served: number) => {
      const sends = Array.from({ length: served }, (_, at) => {
        const intendedOffsetNs = second * 1_000 * MS;
        const slow = second === 1 && at === 0 ? 900 : 10;
        return send({ index: at, intendedOffsetNs, lastByteOffsetNs: intendedOffsetNs + slow * MS });
      });
      pulse.add(sends);
      return pulse.take({ elapsedNs: second * 1_000 * MS, outstanding: 0, inFlight: 0, waiting: 0 });
    };
    // 5 a second, one of them slow: 11 are needed for a p50, 130 for a p95, 662 for a p99.
    const seconds = Array.from({ length: 40 }, (_, second) => take(second, 5));
    expect(seconds[1]?.latencyMs.p99).toBe(900);
    expect(seconds.every(({ recentLatencyMs }) => recentLatencyMs.p99 === null)).toBe(true);
    expect(seconds.findIndex(({ recentLatencyMs }) => recentLatencyMs.p50 !== null)).toBe(2);
    expect(seconds.findIndex(({ recentLatencyMs }) => recentLatencyMs.p95 !== null)).toBe(25);
    expect(seconds.at(-1)?.recentLatencyMs).toEqual({ p50: 10, p95: 10, p99: null });
    expect(seconds.at(-1)?.recentTtftMs).toEqual({ p50: null, p95: null, p99: null });
    // A busy second is enough for itself.
    expect(take(40, 700).recentLatencyMs).toEqual({ p50: 10, p95: 10, p99: 10 });
  });

  test('keeps thirty spans and no more', () => {
    const pulse = new RunPulse();
    const at = { outstanding: 0, inFlight: 0, waiting: 0 };
    pulse.add(Array.from({ length: 20 }, (_, index) => send({ index })));
    const spans = Array.from({ length: 31 }, (_, elapsedNs) => pulse.take({ elapsedNs, ...at }));
    expect(spans.map(({ recentLatencyMs }) => recentLatencyMs.p50 !== null)).toEqual([
      ...new Array<boolean>(30).fill(true),
      false,
    ]);
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
