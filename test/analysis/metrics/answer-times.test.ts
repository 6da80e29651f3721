import { describe, expect, test } from 'vitest';
import { LatencyStatistics } from '../../../src/analysis/metrics/answer-times.ts';
import { send } from '../../support/sends.ts';

describe('LatencyStatistics', () => {
  test('never counts a send as early', () => {
    const statistics = new LatencyStatistics();
    statistics.add({ ...send({ index: 0, intendedOffsetNs: 500 }), actualOffsetNs: 400 }, true);
    expect(statistics.figures.lag.max).toBe(0);
  });
});
