import { describe, expect, test } from 'vitest';
import { CoalescedGaps } from '../../src/analysis/coalesced-gaps.ts';
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

/** What a pacer makes of a plan that sleeps for 1 ms from wake to wake, is late by some, and takes as long for each. */
function sentBy(dues: readonly number[], costNs: number, lateNs: (wake: number) => number): number[] {
  let [restUntilNs, freeNs, wake] = [0, 0, 0];
  return dues.map((dueNs) => {
    if (dueNs > freeNs) {
      freeNs = Math.max(dueNs, restUntilNs) + lateNs(wake);
      restUntilNs = freeNs + MS;
      wake += 1;
    }
    const sentNs = Math.max(dueNs, freeNs);
    freeNs = sentNs + costNs;
    return sentNs;
  });
}

function cvOf(gaps: readonly number[]): number {
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  return Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length) / mean;
}

const cvOfInstants = (all: readonly number[]): number =>
  cvOf(all.slice(1).map((at, index) => at - (all[index] as number)));

function cvLessCoalesce(dues: readonly number[], sent: readonly number[]): number {
  const gaps = new CoalescedGaps(MS);
  // Sends end in any order.
  const places = [...dues.keys()].sort((a, b) => (a % 7) - (b % 7) || a - b);
  for (const index of places) gaps.add(index, dues[index] as number, sent[index] as number);
  gaps.finish();
  return gaps.cv ?? Number.NaN;
}

describe('the gaps of sends that may leave together', () => {
  const random = new SeededRandom(3);
  const uniform = () => (random.below(1_000_000) + 0.5) / 1_000_000;
  const poisson = (meanNs: number) => () => -meanNs * Math.log(uniform());
  test.each<[string, number, (index: number) => number]>([
    ['evenly at 10,000/s', 10 * US, () => 100 * US],
    ['evenly at 1,000/s', 10 * US, () => MS],
    ['evenly at 800/s', 10 * US, () => 1_250 * US],
    ['at random at 500/s', 10 * US, poisson(2 * MS)],
    ['at random at 5,000/s', 10 * US, poisson(200 * US)],
    ['at random at 20,000/s', 20 * US, poisson(50 * US)],
    ['in bursts', 30 * US, (index) => (index % 50 === 0 ? 100 * MS : 40 * US)],
    [
      'in ties of 100, of which the last are written 1 ms after the first',
      10 * US,
      (index) => (index % 100 === 0 ? 20 * MS : 0),
    ],
  ])('are those of the plan where nothing is amiss: %s', (_title, costNs, gapNs) => {
    const dues = instants(20_000, gapNs);
    const sent = sentBy(dues, costNs, () => 20 * US * uniform());
    const planned = cvOfInstants(dues);
    expect(Math.abs(cvLessCoalesce(dues, sent) - planned)).toBeLessThan(Math.max(0.1, 0.05 * planned));
  });

  test.each([
    ['10 ms at 10,000/s', 100 * US, 10],
    ['22 ms at 2,000/s', 500 * US, 22],
    ['22 ms at 800/s', 1_250 * US, 22],
  ])('tell of three standstills of %s in 10 s', (_title, gapNs, stillMs) => {
    const dues = instants(Math.round((10_000 * MS) / gapNs), () => gapNs);
    const [first, ...others] = [2_000, 5_000, 8_000].map((ms) => ms * MS);
    const stills = [first as number, ...others];
    const sent = sentBy(dues, 10 * US, () => 0).map((sentNs) => {
      const still = stills.find((atNs) => sentNs >= atNs && sentNs < atNs + stillMs * MS);
      return still === undefined ? sentNs : still + stillMs * MS;
    });
    expect(cvLessCoalesce(dues, sent)).toBeGreaterThan(0.26);
  });

  test('have none where fewer than two left', () => {
    const gaps = new CoalescedGaps(MS);
    gaps.add(0, 0, 5);
    gaps.add(1, 10, null);
    gaps.finish();
    expect(gaps.cv).toBeNull();
  });
});
