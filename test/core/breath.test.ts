import { describe, expect, it } from 'vitest';
import { Breath } from '../../src/core/breath.ts';
import { ManualClock } from '../support/manual-clock.ts';

const MS = 1_000_000;

/** A loop that works and sleeps as it is told. */
class Stage {
  readonly clock = new ManualClock();
  idleNs = 0;
  readonly breath = new Breath(this.clock, () => this.idleNs);

  work(ns: number): void {
    this.clock.advance(ns);
  }

  sleep(ns: number): void {
    this.clock.advance(ns);
    this.idleNs += ns;
  }
}

describe('a breath', () => {
  it('is taken when a stretch of work is over, and not before', () => {
    const stage = new Stage();
    const waits: number[] = [];
    const wait = Atomics.wait;
    Atomics.wait = ((...args: Parameters<typeof wait>) => {
      waits.push(Number(args[3]));
      return 'timed-out';
    }) as typeof wait;
    try {
      stage.breath.take();
      stage.work(0.5 * MS - 1);
      stage.breath.take();
      expect(waits).toEqual([]);
      stage.work(1);
      stage.breath.take();
      stage.breath.take();
      expect(waits).toEqual([0.02]);
      // Busy for longer than it slept: there is no time to rest, until there is again.
      stage.work(30 * MS);
      stage.breath.take();
      stage.work(0.5 * MS);
      stage.breath.take();
      expect(waits).toEqual([0.02]);
      stage.sleep(100 * MS);
      stage.breath.take();
      expect(waits).toEqual([0.02, 0.02]);
    } finally {
      Atomics.wait = wait;
    }
  });
});
