import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { pairClocks } from '../../src/core/clock.ts';

const MS = 1_000_000;
const WALL_MS = 1_790_000_000_000;
/** What a look at a clock takes. */
const LOOK_NS = 200;

/** Two clocks of which the wall's ticks fall on whole milliseconds of the other, as somebody sees them who is held up. */
class Clocks {
  #nowNs: number;
  #looks = 0;
  readonly #heldUp: ReadonlyMap<number, number>;

  /** @param heldUp after which look at a clock for how long somebody else runs, ns */
  constructor(startNs: number, heldUp: ReadonlyMap<number, number>) {
    this.#nowNs = startNs;
    this.#heldUp = heldUp;
  }

  readonly nowNs = (): number => this.#look(this.#nowNs);

  readonly wallMs = (): number => this.#look(WALL_MS + Math.floor(this.#nowNs / MS));

  #look(shown: number): number {
    this.#looks += 1;
    this.#nowNs += LOOK_NS + (this.#heldUp.get(this.#looks) ?? 0);
    return shown;
  }
}

/** How far a pairing is off. */
function errorNs(startNs: number, heldUp: ReadonlyMap<number, number>): number {
  const clocks = new Clocks(startNs, heldUp);
  const { monotonicNs, epochUs } = pairClocks(clocks.wallMs, clocks.nowNs);
  return Math.abs(monotonicNs - (epochUs - WALL_MS * 1_000) * 1_000);
}

describe('a pairing of the clocks', () => {
  test('is exact to the looks it takes', () => {
    expect(errorNs(0.4 * MS, new Map())).toBeLessThan(5 * LOOK_NS);
  });

  test('is not the worse when somebody else ran while the wall clock ticked over, at whichever look', () => {
    const look = fc.integer({ min: 1, max: 12 });
    fc.assert(
      fc.property(fc.nat(MS), look, fc.integer({ min: 1, max: 3 * MS }), (startNs, after, forNs) => {
        expect(errorNs(startNs, new Map([[after, forNs]]))).toBeLessThan(21_000);
      }),
    );
  });
});
