import { expect, test } from 'vitest';
import { NoiseStatistics } from '../../../src/analysis/capacity/noise.ts';
import { send } from '../../support/sends.ts';

/** Each took 10 ms, and then so many times as long. */
function noiseOf(ratios: readonly number[]): number {
  const noise = new NoiseStatistics();
  const took = (index: number, ms: number) => ({
    ...send({ index }),
    actualOffsetNs: 0,
    lastByteOffsetNs: ms * 1e6,
  });
  noise.addSends(ratios.map((_, index) => took(index, 10)));
  noise.beginSecond();
  noise.addSends(ratios.map((ratio, index) => took(index, 10 * ratio)));
  return noise.figures()?.share ?? Number.NaN;
}

test('requests that are slow together count as one, and not as many', () => {
  const alternating = Array.from({ length: 400 }, (_, at) => (at % 2 === 0 ? 1.2 : 1 / 1.2));
  const inPhases = Array.from({ length: 400 }, (_, at) => (at % 200 < 100 ? 1.2 : 1 / 1.2));
  expect(noiseOf(alternating)).toBeLessThan(0.01);
  expect(noiseOf(inPhases)).toBeGreaterThan(0.08);
});
