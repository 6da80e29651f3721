import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Enrolled, Roster } from '../../src/core/roster.ts';

class Item implements Enrolled {
  place = -1;
}

const step = fc.record({ kind: fc.constantFrom('add', 'remove'), which: fc.nat(20) });

function itemsOf(roster: Roster<Item>): Set<Item> {
  const items: Item[] = [];
  roster.each((item) => items.push(item));
  expect(items).toHaveLength(roster.size);
  return new Set(items);
}

describe('a roster', () => {
  it('holds what a Set holds, whatever comes and goes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const items = Array.from({ length: 21 }, () => new Item());
        const roster = new Roster<Item>();
        const model = new Set<Item>();
        for (const { kind, which } of steps) {
          const item = items[which] as Item;
          if (kind === 'add') {
            roster.add(item);
            model.add(item);
          } else {
            roster.remove(item);
            model.delete(item);
          }
          expect(itemsOf(roster)).toEqual(model);
          expect(roster.find((each) => each === item)).toBe(model.has(item) ? item : undefined);
        }
      }),
    );
  });

  it('is walked once, and not with those that have left meanwhile', () => {
    const items = Array.from({ length: 4 }, () => new Item());
    const roster = new Roster<Item>();
    for (const item of items) roster.add(item);
    const walked: Item[] = [];
    roster.each((item) => {
      walked.push(item);
      roster.remove(item);
      roster.remove(items[3] as Item);
      roster.add(new Item());
    });
    expect(walked).toEqual(items.slice(0, 3));
    expect(roster.size).toBe(3);
  });
});
