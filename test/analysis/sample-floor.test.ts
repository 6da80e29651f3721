import { describe, expect, test } from 'vitest';
import { sampleFloor } from '../../src/analysis/sample-floor.ts';

describe('sampleFloor', () => {
  test.each([
    [50, 11],
    [90, 64],
    [95, 130],
    [99, 662],
    [99.9, 6_636],
  ])('asks p(%d) for %d samples, as MLPerf early stopping does with one request over', (percent, floor) => {
    expect(sampleFloor(percent)).toBe(floor);
  });

  test('is the least count that passes the test', () => {
    const chance = (below: number, count: number) =>
      below ** count + count * (1 - below) * below ** (count - 1);
    for (const percent of [10, 75, 97.5, 99.5, 99.99]) {
      const floor = sampleFloor(percent);
      expect(chance(percent / 100, floor)).toBeLessThanOrEqual(0.01 + 1e-12);
      expect(chance(percent / 100, floor - 1)).toBeGreaterThan(0.01);
    }
  });

  test('no sample proves a maximum', () => {
    expect(sampleFloor(100)).toBe(Number.POSITIVE_INFINITY);
    expect(sampleFloor(0)).toBe(1);
  });
});
