import { describe, expect, it } from 'vitest';
import { RateLadder } from '../../../src/replay/selftest/rate-ladder.ts';

/** Climbs to the end on a machine that keeps rates up to `limit`. */
function climb(limit: number, spoiled: readonly number[] = []) {
  const ladder = new RateLadder();
  const tried: number[] = [];
  for (let rate = ladder.next; rate !== null; rate = ladder.next) {
    tried.push(rate);
    ladder.tell(rate <= limit && !spoiled.includes(tried.length));
    if (tried.length > 50) throw new Error('the ladder has no end');
  }
  return { tried, highest: ladder.highestKept, isOpen: ladder.isOpen };
}

describe('the ladder of rates', () => {
  it.each([200, 999, 5_000, 12_345, 60_000])('comes within a fifth of a limit of %d, from below', (limit) => {
    const { highest, tried } = climb(limit);
    expect(highest).toBeLessThanOrEqual(limit);
    expect(highest).toBeGreaterThan(limit / 1.25);
    expect(tried.length).toBeLessThan(15);
  });

  it('tries a rate again before it gives it up', () => {
    expect(climb(5_000, [2]).highest).toBe(climb(5_000).highest);
    expect(climb(5_000, [2]).tried.slice(0, 3)).toEqual([125, 500, 500]);
  });

  it('ends at once where not even the first rate is kept', () => {
    expect(climb(10)).toEqual({ tried: [125, 125], highest: null, isOpen: false });
  });

  it('says which rate is the lowest that was given up, and not one that was missed once', () => {
    const ladder = new RateLadder();
    for (const kept of [true, false]) ladder.tell(kept);
    expect(ladder).toMatchObject({ highestKept: 125, lowestMissed: null });
    for (const kept of [false, true, false, false]) ladder.tell(kept);
    expect(ladder).toMatchObject({ highestKept: 250, lowestMissed: 350 });
  });

  it('says when the highest rate that is tried was kept', () => {
    expect(climb(1e9)).toMatchObject({ highest: 128_000, isOpen: true });
  });
});
