import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RawReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { scheduledBy } from './scheduled.ts';

const SPAN_US = 20_000_000;
const at = (us: number) =>
  new Date(us / 1e3).toISOString().replace('Z', `${String(us % 1e3).padStart(3, '0')}Z`);

/** Windows of these beginnings and lengths, microseconds. */
function windowsOf(parts: readonly (readonly [fromUs: number, lengthUs: number])[]): RawReplayOptions {
  return {
    window: parts.map(([fromUs, lengthUs]) => `${at(fromUs)}..${at(Math.min(SPAN_US, fromUs + lengthUs))}`),
  };
}

/** Evenly spread over a stretch. */
function even(fromUs: number, lengthUs: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => Math.floor(fromUs + (n * lengthUs) / count));
}

/** Arrivals at the ends of the recording too, so that every window lies within it. */
const within = (arrivals: readonly number[]) => [0, ...arrivals, SPAN_US].sort((a, b) => a - b);

describe('the forecast of windows', () => {
  // Forty in a fifth of a second, half of them on either side of the edge of a second.
  const burst = within(even(9_900_000, 200_000, 40));

  it.each<[string, RawReplayOptions, number]>([
    ['is repeated', { ...windowsOf([[9_900_000, 200_000]]), loop: '6' }, 200],
    ['is one of many', windowsOf(Array.from({ length: 12 }, () => [9_900_000, 200_000] as const)), 200],
    ['is repeated by stages', { ...windowsOf([[9_900_000, 200_000]]), loop: '40', stages: '5s@2x..3x' }, 400],
  ])('does not plan more than it says where a window of two seconds’ edge %s', (_, flags, least) => {
    const { plan, peakPerSecond } = scheduledBy(burst, flags);
    expect(peakPerSecond).toBeGreaterThanOrEqual(least);
    expect(plan.forecast.plannedPeakPerSecond).toBeGreaterThanOrEqual(peakPerSecond);
    expect(plan.forecast.plannedPeakPerSecond).toBeLessThanOrEqual(1.5 * peakPerSecond);
  });

  it.each<[string, RawReplayOptions]>([
    ['repeated', { ...windowsOf([[9_900_000, 200_000]]), loop: '5' }],
    ['repeated within a second', { ...windowsOf([[9_300_000, 400_000]]), loop: '7' }],
    ['repeated very often', { ...windowsOf([[9_990_000, 20_000]]), loop: '300' }],
    [
      'of one plan',
      windowsOf([
        [9_900_000, 200_000],
        [3_100_000, 300_000],
        [7_950_000, 50_000],
      ]),
    ],
    ['passed by stages', { ...windowsOf([[9_900_000, 200_000]]), loop: '40', stages: '2s@1x,1s@2x' }],
    [
      'played more often',
      { ...windowsOf([[4_800_000, 700_000]]), loop: '4', scaling: 'amplify', multiplier: '2' },
    ],
    ['ended by a duration', { ...windowsOf([[4_800_000, 700_000]]), duration: '2500ms' }],
  ])('counts seconds at the edges of short windows by their share: %s', (_, flags) => {
    const { plan, planned } = scheduledBy(within(even(0, SPAN_US, 4_000)), {
      scaling: 'jitter=0s',
      ...flags,
    });
    expect(planned).toBeGreaterThan(50);
    expect(Math.abs(plan.forecast.plannedExchanges / planned - 1)).toBeLessThan(0.02);
  });

  it('bounds every second of the run, whatever windows, passes and scaling make of it', () => {
    // Mostly about the edge of a second, where short windows touch two.
    const instant = fc.oneof(fc.integer({ min: 0, max: SPAN_US - 1 }), {
      weight: 3,
      arbitrary: fc.integer({ min: 9_800_000, max: 10_200_000 }),
    });
    const lengthUs = fc.oneof(
      fc.integer({ min: 1, max: 50_000 }),
      { weight: 5, arbitrary: fc.integer({ min: 150_000, max: 400_000 }) },
      fc.integer({ min: 1, max: 6_000_000 }),
    );
    const scaling = fc.constantFrom<RawReplayOptions>(
      {},
      { multiplier: '3.7' },
      { multiplier: '0.5', scaling: 'compress' },
      { multiplier: '0.5' },
      { multiplier: '2.5', scaling: 'amplify,jitter=3s' },
      { stages: '2s@1x,1s@1x..4x' },
      { stages: '2s@1x,3s@2x', scaling: 'amplify' },
    );
    const ending = fc.oneof(
      fc.integer({ min: 1, max: 12 }).map((loop): RawReplayOptions => ({ loop: String(loop) })),
      fc.constantFrom<RawReplayOptions>({ duration: '400ms' }, { duration: '3s' }),
    );
    fc.assert(
      fc.property(
        fc.array(instant, { minLength: 30, maxLength: 60 }),
        fc.array(fc.tuple(instant, lengthUs), { minLength: 1, maxLength: 3 }),
        scaling,
        ending,
        fc.option(fc.integer({ min: 1, max: 60 })),
        (arrivals, parts, scaled, ends, leftOut) => {
          const filter = leftOut === null ? {} : { model: ['b'] };
          const { plan, peakPerSecond } = scheduledBy(
            within(arrivals),
            { ...windowsOf(parts), ...scaled, ...ends, ...filter },
            (at) => (at < (leftOut ?? 0) ? 'a' : 'b'),
          );
          expect(plan.forecast.plannedPeakPerSecond).toBeGreaterThanOrEqual(peakPerSecond);
        },
      ),
    );
  });

  it.each<[string, RawReplayOptions]>([
    ['a duration', { duration: '3s' }],
    ['a duration behind the end of a pass', { duration: '12s', loop: '3' }],
    [
      'a duration in a second window',
      {
        ...windowsOf([
          [0, 9_000_000],
          [9_000_000, 11_000_000],
        ]),
        duration: '3s',
      },
    ],
    ['stages', { stages: '2s@1x,1s@2x' }],
    ['a duration of copies', { duration: '3s', multiplier: '2', scaling: 'amplify,jitter=0s' }],
  ])('bounds what a filter leaves, which begins after %s counted from all traffic is over', (_, flags) => {
    const all = even(0, SPAN_US, 20);
    const late = even(15_000_000, 4_000_000, 800);
    const arrivals = [...all, ...late].sort((a, b) => a - b);
    const few = new Set(all);
    const { plan, peakPerSecond } = scheduledBy(arrivals, { ...flags, filter: ['model=b'] }, (at) =>
      few.has(arrivals[at] ?? -1) ? 'a' : 'b',
    );
    expect(peakPerSecond).toBeGreaterThan(190);
    expect(plan.forecast.plannedPeakPerSecond).toBeGreaterThanOrEqual(peakPerSecond);
  });

  it('names the peak second as it was recorded', () => {
    const parts = [
      [1_000_000, 2_000_000],
      [9_000_000, 5_000_000],
    ] as const;
    const { plan } = scheduledBy(burst, { ...windowsOf(parts), loop: '3' });
    expect(plan.forecast).toMatchObject({ exchanges: 120, recordedPeakPerSecond: 20 });
    expect([9, 10]).toContain(plan.forecast.peakSecond);
  });
});
