import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Entry, LinkedList } from '../../src/core/linked-list.ts';

const step = fc.record({
  kind: fc.constantFrom('push', 'push', 'remove', 'append', 'other', 'shift'),
  which: fc.nat(),
});

/** From either end, by the links. */
function chain(list: LinkedList<number>): { forwards: number[]; backwards: number[] } {
  const forwards: number[] = [];
  let last: Entry<number> | null = null;
  for (let entry = list.first; entry !== null; entry = entry.next) {
    forwards.push(entry.item);
    last = entry;
  }
  const backwards: number[] = [];
  for (let entry = last; entry !== null; entry = entry.previous) backwards.push(entry.item);
  return { forwards, backwards: backwards.reverse() };
}

function without(items: number[], item: number): number[] {
  return items.filter((each) => each !== item);
}

describe('a linked list', () => {
  it('holds what an array holds, in the same order, whatever comes, goes and moves', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
        const [list, other] = [new LinkedList<number>(), new LinkedList<number>()];
        let model: number[] = [];
        let otherModel: number[] = [];
        const entries: Entry<number>[] = [];
        for (const [at, { kind, which }] of steps.entries()) {
          const entry = entries[which % entries.length];
          if (kind === 'push') {
            entries.push(list.push(at));
            model = [...model, at];
          } else if (kind === 'shift') {
            expect(list.shift()).toBe(model[0]);
            model = model.slice(1);
          } else if (entry !== undefined) {
            const { item } = entry;
            const had = model.includes(item);
            if (kind === 'remove') expect(list.remove(entry)).toBe(had);
            else (kind === 'append' ? list : other).append(entry);
            if (kind !== 'remove') otherModel = without(otherModel, item);
            model = without(model, item);
            if (kind === 'append') model.push(item);
            if (kind === 'other') otherModel.push(item);
          }
          expect([...list]).toEqual(model);
          expect([...other]).toEqual(otherModel);
          expect([list.size, other.size]).toEqual([model.length, otherModel.length]);
        }
        expect(chain(list)).toEqual({ forwards: model, backwards: model });
        expect(chain(other)).toEqual({ forwards: otherModel, backwards: otherModel });
      }),
    );
  });

  it('leaves no links in the entry of what was removed', () => {
    const list = new LinkedList<string>();
    const entries = ['a', 'b', 'c'].map((item) => list.push(item));
    for (const entry of entries) {
      expect(list.remove(entry)).toBe(true);
      expect([entry.list, entry.next, entry.previous]).toEqual([null, null, null]);
      expect(list.remove(entry)).toBe(false);
    }
    expect([list.first, list.size, list.shift()]).toEqual([null, 0, undefined]);
  });

  it('does not let go of what is in another list, or in none', () => {
    const [one, other] = [new LinkedList<string>(), new LinkedList<string>()];
    const entry = one.push('a');
    expect([other.remove(entry), other.remove(new Entry('b'))]).toEqual([false, false]);
    expect([one.size, other.size]).toEqual([1, 0]);
  });

  it('may be changed in any way while it is walked: what comes is what was there', () => {
    const list = new LinkedList<number>();
    const entries = [0, 1, 2, 3].map((item) => list.push(item));
    const walked: number[] = [];
    for (const item of list) {
      walked.push(item);
      list.remove(entries[3 - item] as Entry<number>);
      list.append(entries[item] as Entry<number>);
      list.push(10 + item);
    }
    expect(walked).toEqual([0, 1, 2, 3]);
  });
});
