import { describe, expect, it } from 'vitest';
import { Breath } from '../../src/core/breath.ts';
import { ManualClock } from '../support/manual-clock.ts';

const MS = 1_000_000;

describe('a breath', () => {
  it('is taken when a stretch of work is over, and not before, nor by who is behind', () => {
    const clock = new ManualClock();
    const breath = new Breath(clock);
    const waits: number[] = [];
    const wait = Atomics.wait;
    Atomics.wait = ((...args: Parameters<typeof wait>) => {
      waits.push(Number(args[3]));
      return 'timed-out';
    }) as typeof wait;
    try {
      breath.take();
      clock.advance(0.25 * MS - 1);
      breath.take();
      expect(waits).toEqual([]);
      clock.advance(1);
      breath.take();
      breath.take();
      expect(waits).toEqual([0.02]);
      // What is worked on came long ago: there is no time to rest, in what follows of it either.
      breath.heard(clock.nowNs() - 25 * MS);
      clock.advance(MS);
      breath.take();
      clock.advance(MS);
      breath.take();
      expect(waits).toEqual([0.02]);
      // But not for ever, and silence is not being behind.
      clock.advance(25 * MS);
      breath.take();
      expect(waits).toEqual([0.02, 0.02]);
      breath.heard(clock.nowNs());
      clock.advance(60_000 * MS);
      breath.take();
      expect(waits).toEqual([0.02, 0.02, 0.02]);
    } finally {
      Atomics.wait = wait;
    }
  });
});
