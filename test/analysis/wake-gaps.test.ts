import { describe, expect, test } from 'vitest';
import { WakeGaps } from '../../src/analysis/wake-gaps.ts';
import { SeededRandom } from '../../src/core/random.ts';

const US = 1_000;
const MS = 1_000 * US;

/** Instants of so many requests, each so long after the one before. */
function instants(count: number, gapNs: (index: number) => number): number[] {
  let atNs = 0;
  return Array.from({ length: count }, (_, index) => {
    atNs += Math.round(gapNs(index));
    return atNs;
  });
}

/** What a pacer makes of a plan that sleeps for 1 ms from wake to wake, is late by some, and sends one in 20 µs. */
function sentBy(dues: readonly number[], lateNs: (wake: number) => number): number[] {
  let [restUntilNs, sentNs, wake] = [0, 0, 0];
  return dues.map((dueNs) => {
    if (dueNs > sentNs) {
      const wokenNs = Math.max(dueNs, restUntilNs) + lateNs(wake);
      wake += 1;
      restUntilNs = wokenNs + MS;
      sentNs = wokenNs;
    } else sentNs += 20 * US;
    return sentNs;
  });
}

function cvsOf(dues: readonly number[], sent: readonly number[]): { planned: number; sent: number } {
  const gaps = new WakeGaps(MS);
  for (const dueNs of dues) gaps.addPlanned(dueNs);
  for (const sentNs of sent) gaps.addSent(sentNs);
  const { plannedCv, sentCv } = gaps.figures();
  return { planned: plannedCv ?? Number.NaN, sent: sentCv ?? Number.NaN };
}

describe('the gaps between wakes', () => {
  const random = new SeededRandom(3);
  const uniform = () => (random.below(1_000_000) + 0.5) / 1_000_000;
  const poisson = (meanNs: number) => () => -meanNs * Math.log(uniform());
  test.each<[string, (index: number) => number]>([
    ['evenly at 10,000/s', () => 100 * US],
    ['evenly at 800/s', () => 1_250 * US],
    ['at random at 500/s', poisson(2 * MS)],
    ['at random at 1,000/s', poisson(MS)],
    ['at random at 5,000/s', poisson(200 * US)],
    ['in bursts of 50', (index) => (index % 50 === 0 ? 100 * MS : 30 * US)],
    ['in ties of 10', (index) => (index % 10 === 0 ? 3 * MS : 0)],
  ])('are as the plan has them where nothing is amiss: %s', (_title, gapNs) => {
    const dues = instants(20_000, gapNs);
    const { planned, sent } = cvsOf(
      dues,
      sentBy(dues, () => 20 * US * uniform()),
    );
    expect(Math.abs(sent - planned)).toBeLessThan(Math.max(0.05, 0.05 * planned));
  });

  test.each([
    ['10,000/s', 100 * US],
    ['800/s', 1_250 * US],
  ])('tell of three standstills of 22 ms in 10 s, evenly at %s', (_title, gapNs) => {
    const dues = instants(Math.round((10_000 * MS) / gapNs), () => gapNs);
    const { planned, sent } = cvsOf(
      dues,
      sentBy(dues, (wake) => (wake % 2_500 === 1_000 ? 22 * MS : 0)),
    );
    expect(planned).toBeLessThan(0.01);
    expect(sent).toBeGreaterThan(0.26);
  });

  test('are not known of fewer than two wakes', () => {
    const gaps = new WakeGaps(MS);
    expect(gaps.figures()).toEqual({ plannedCv: null, sentCv: null });
    gaps.addPlanned(5);
    gaps.addSent(7);
    expect(gaps.figures()).toEqual({ plannedCv: null, sentCv: null });
  });
});
