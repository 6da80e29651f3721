import { describe, expect, test } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import { WakeLead } from '../../src/replay/wake-lead.ts';

const GREATEST_NS = 60_000;

/** Has a lead learn so many wakes. @returns its mean from half of them on, and the share of wakes that were late then */
function learned(lead: WakeLead, wakes: number, lateNs: (uniform: number) => number): [number, number] {
  const random = new SeededRandom(7);
  let [sumNs, late] = [0, 0];
  for (let wake = 0; wake < 2 * wakes; wake += 1) {
    const isCounted = wake >= wakes;
    const tookNs = lateNs((random.below(1_000_000) + 0.5) / 1_000_000);
    if (isCounted) sumNs += lead.ns;
    if (isCounted && tookNs > lead.ns) late += 1;
    lead.learn(tookNs);
    expect(lead.ns).toBeGreaterThanOrEqual(0);
    expect(lead.ns).toBeLessThanOrEqual(GREATEST_NS);
  }
  return [sumNs / wakes, late / wakes];
}

describe('the lead of a wake', () => {
  test.each<[string, (uniform: number) => number, number]>([
    ['evenly up to 40 µs', (uniform) => 40_000 * uniform, 20_000],
    ['by 10 µs at the mean, as what has no memory', (uniform) => -10_000 * Math.log(uniform), 6_931],
    [
      'by 20 µs or somewhat more, and one in twenty by a millisecond',
      (uniform) => (uniform < 0.05 ? 1e6 : 20_000 + 4_000 * uniform),
      22_000,
    ],
  ])('is what half of the wakes take where they are late %s', (_title, lateNs, quantileNs) => {
    const [meanNs, lateShare] = learned(new WakeLead(), 20_000, lateNs);
    expect(Math.abs(meanNs - quantileNs)).toBeLessThan(2_000);
    expect(Math.abs(lateShare - 0.5)).toBeLessThan(0.05);
  });

  test('begins at the greatest, and stays there where no lead would do', () => {
    const lead = new WakeLead();
    expect(lead.ns).toBe(GREATEST_NS);
    learned(lead, 100, () => 1e6);
    expect(lead.ns).toBe(GREATEST_NS);
  });

  test('is nothing where wakes come at once, and grows again where wakes take longer', () => {
    const lead = new WakeLead();
    learned(lead, 1_000, () => 0);
    expect(lead.ns).toBe(0);
    const [meanNs] = learned(lead, 20_000, (uniform) => 40_000 * uniform);
    expect(Math.abs(meanNs - 20_000)).toBeLessThan(2_000);
  });
});
