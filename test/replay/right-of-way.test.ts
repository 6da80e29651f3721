import { describe, expect, test } from 'vitest';
import { DueRing } from '../../src/replay/due-ring.ts';
import { RightOfWay } from '../../src/replay/right-of-way.ts';
import { ManualClock } from '../support/manual-clock.ts';

const MS = 1_000_000;
/** Where the run's zero lies on the clock. */
const START_NS = 5_000 * MS;
/** Far enough ahead that there is time to wait. */
const LATER_NS = 2_000 * MS;

/** A reader beside sends that are due at these instants of the run. */
class Reader {
  readonly clock = new ManualClock();
  readonly ring = DueRing.create(16);
  readonly sleptMs: number[] = [];
  readonly rightOfWay: RightOfWay;

  constructor(duesNs: readonly number[], startNs: number | null = START_NS) {
    for (const dueNs of duesNs) this.ring.push(dueNs);
    this.rightOfWay = new RightOfWay(
      this.ring,
      this.clock,
      () => startNs,
      (ms) => {
        this.sleptMs.push(ms);
        this.clock.advance(ms * MS);
      },
    );
  }

  /** What it waits, ms, when it comes to a piece of work at this instant of the run. */
  waitsAt(offsetNs: number): number {
    this.clock.advance(START_NS + offsetNs - this.clock.nowNs());
    const before = this.sleptMs.length;
    this.rightOfWay.give();
    return this.sleptMs.slice(before).reduce((sum, ms) => sum + ms, 0);
  }
}

describe('the right of way', () => {
  test('is given from shortly before a send is due until it is done', () => {
    const reader = new Reader([10 * MS, 20 * MS, LATER_NS]);
    expect(reader.waitsAt(9.8 * MS)).toBe(0);
    expect(reader.waitsAt(9.9 * MS)).toBeCloseTo(0.35, 6);
    expect(reader.waitsAt(10.3 * MS)).toBe(0);
  });

  test('is given to a send that the pacer has taken and that is not due yet', () => {
    const reader = new Reader([10 * MS, 20 * MS, LATER_NS]);
    reader.ring.shift();
    expect(reader.waitsAt(9.95 * MS)).toBeCloseTo(0.3, 6);
    expect(reader.waitsAt(10.3 * MS)).toBe(0);
    expect(reader.waitsAt(19.9 * MS)).toBeCloseTo(0.35, 6);
  });

  test('is not given where the next send would take it at once: work would never get on', () => {
    const tight = new Reader([10 * MS, 10.6 * MS, LATER_NS]);
    expect(tight.waitsAt(9.9 * MS)).toBe(0);
    tight.ring.shift();
    expect(tight.waitsAt(10.1 * MS)).toBe(0);
    const loose = new Reader([10 * MS, 10.65 * MS, LATER_NS]);
    expect(loose.waitsAt(9.9 * MS)).toBeCloseTo(0.35, 6);
  });

  test('is not given when what was read ahead runs out, nor before the run begins', () => {
    expect(new Reader([10 * MS, 400 * MS]).waitsAt(9.9 * MS)).toBe(0);
    expect(new Reader([]).waitsAt(0)).toBe(0);
    expect(new Reader([0, LATER_NS], null).waitsAt(0)).toBe(0);
  });

  test('hands on every item, each with the way free', () => {
    const reader = new Reader([10 * MS, LATER_NS]);
    reader.clock.advance(START_NS + 9.9 * MS - reader.clock.nowNs());
    const items = reader.rightOfWay.before([1, 2].values());
    expect([items.next(), items.next(), items.next()]).toEqual([
      { done: false, value: 1 },
      { done: false, value: 2 },
      { done: true, value: undefined },
    ]);
    expect(reader.sleptMs).toHaveLength(1);
  });
});
