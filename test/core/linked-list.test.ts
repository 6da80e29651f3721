import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Link, LinkedList } from '../../src/core/linked-list.ts';

const step = fc.record({
  kind: fc.constantFrom('push', 'push', 'remove', 'append', 'other', 'shift'),
  which: fc.nat(),
});

/** From either end, by the links. */
function chain(list: LinkedList<number>): { forwards: number[]; backwards: number[] } {
  const forwards: number[] = [];
  let last: Link<number> | null = null;
  for (let link = list.first; link !== null; link = link.next) {
    forwards.push(link.item);
    last = link;
  }
  const backwards: number[] = [];
  for (let link = last; link !== null; link = link.previous) backwards.push(link.item);
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
        const links: Link<number>[] = [];
        for (const [at, { kind, which }] of steps.entries()) {
          const link = links[which % links.length];
          if (kind === 'push') {
            links.push(list.push(at));
            model = [...model, at];
          } else if (kind === 'shift') {
            expect(list.shift()).toBe(model[0]);
            model = model.slice(1);
          } else if (link !== undefined) {
            const { item } = link;
            const had = model.includes(item);
            if (kind === 'remove') expect(list.remove(link)).toBe(had);
            else (kind === 'append' ? list : other).append(link);
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

  it('leaves nothing in the links of what was removed', () => {
    const list = new LinkedList<string>();
    const links = ['a', 'b', 'c'].map((item) => list.push(item));
    for (const link of links) {
      expect(list.remove(link)).toBe(true);
      expect([link.list, link.next, link.previous]).toEqual([null, null, null]);
      expect(list.remove(link)).toBe(false);
    }
    expect([list.first, list.size, list.shift()]).toEqual([null, 0, undefined]);
  });

  it('does not let go of what is in another list, or in none', () => {
    const [one, other] = [new LinkedList<string>(), new LinkedList<string>()];
    const link = one.push('a');
    expect([other.remove(link), other.remove(new Link('b'))]).toEqual([false, false]);
    expect([one.size, other.size]).toEqual([1, 0]);
  });

  it('may be changed in any way while it is walked: what comes is what was there', () => {
    const list = new LinkedList<number>();
    const links = [0, 1, 2, 3].map((item) => list.push(item));
    const walked: number[] = [];
    for (const item of list) {
      walked.push(item);
      list.remove(links[3 - item] as Link<number>);
      list.append(links[item] as Link<number>);
      list.push(10 + item);
    }
    expect(walked).toEqual([0, 1, 2, 3]);
  });
});
