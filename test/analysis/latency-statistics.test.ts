import { describe, expect, test } from 'vitest';
import { LatencyStatistics } from '../../src/analysis/latency-statistics.ts';
import { send } from '../support/sends.ts';

const MS = 1e6;

function lateSend(index: number) {
  const actualOffsetNs = 100 * MS + index;
  return { ...send({ index, intendedOffsetNs: index, actualOffsetNs }), actualOffsetNs };
}

describe('LatencyStatistics', () => {
  test('keeps a bounded number of late sends aside; the rest counts as it is', () => {
    const statistics = new LatencyStatistics(3);
    for (let index = 0; index < 5; index++) statistics.add(lateSend(index), true);
    const figures = statistics.finish([{ fromOffsetNs: 0, toOffsetNs: 100 * MS }]);
    expect(figures.leftOut).toBe(3);
    expect(figures.service.count).toBe(2);
    expect(figures.lag.count).toBe(2);
  });

  test('never counts a send as early', () => {
    const statistics = new LatencyStatistics();
    statistics.add({ ...send({ index: 0, intendedOffsetNs: 500 }), actualOffsetNs: 400 }, true);
    expect(statistics.finish([]).lag.max).toBe(0);
  });

  test('knows what was over before the first standstill, but not where some found no room to wait for it', () => {
    const stalls = [{ fromOffsetNs: 9_500 * MS, toOffsetNs: 9_800 * MS }];
    // Answered after 2 s each, a second apart: those of the first 7 s before it, the others in it or after it.
    const beforeOf = (room: number) => {
      const statistics = new LatencyStatistics(room);
      for (let index = 0; index < 10; index++) {
        const actualOffsetNs = index * 1_000 * MS;
        const one = { actualOffsetNs, lastByteOffsetNs: actualOffsetNs + 2_000 * MS };
        statistics.add({ ...send({ index, intendedOffsetNs: actualOffsetNs }), ...one }, true);
      }
      const { service, scheduled } = statistics.finish(stalls).beforeStalls;
      return [service.count, scheduled.count];
    };
    expect(beforeOf(100)).toEqual([8, 8]);
    expect(beforeOf(9)).toEqual([0, 0]);
  });
});
