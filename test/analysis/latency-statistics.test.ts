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
});
