import { getHeapSpaceStatistics } from 'node:v8';
import { LinkedList } from '../../src/core/linked-list.ts';
import { NumberMap } from '../../src/core/number-map.ts';
import { Roster } from '../../src/core/roster.ts';

/**
 * A process of its own, with `--expose-gc`: has objects come and go after a full collection, and prints by how many
 * bytes the old generation has grown.
 */

/** At once, as requests under way. */
const HELD = 32;
const BEFORE = 20_000;
const AFTER = 20_000;

/** Some kilobyte. */
interface Passing {
  place: number;
  readonly words: number[];
}

interface Passage {
  add(index: number, item: Passing): void;
  remove(index: number): void;
}

function numberMap(): Passage {
  const map = new NumberMap<Passing>();
  return { add: (index, item) => map.set(index, item), remove: (index) => map.delete(index) };
}

function map(): Passage {
  const held = new Map<number, Passing>();
  return { add: (index, item) => held.set(index, item), remove: (index) => held.delete(index) };
}

function linkedList(): Passage {
  const list = new LinkedList<Passing>();
  return { add: (_, item) => list.push(item), remove: () => list.shift() };
}

/** What is removed by itself and not by a number. */
function byItem(add: (item: Passing) => void, remove: (item: Passing) => void): Passage {
  const slots: Passing[] = [];
  return {
    add: (index, item) => {
      add(item);
      slots[index % HELD] = item;
    },
    remove: (index) => remove(slots[index % HELD] as Passing),
  };
}

function roster(): Passage {
  const held = new Roster<Passing>();
  return byItem(
    (item) => held.add(item),
    (item) => held.remove(item),
  );
}

function set(): Passage {
  const held = new Set<Passing>();
  return byItem(
    (item) => held.add(item),
    (item) => held.delete(item),
  );
}

function oldBytes(): number {
  const spaces = getHeapSpaceStatistics();
  return spaces.find(({ space_name }) => space_name === 'old_space')?.space_used_size ?? 0;
}

function pass(passage: Passage, from: number, count: number): void {
  for (let index = from; index < from + count; index += 1) {
    if (index >= HELD) passage.remove(index - HELD);
    passage.add(index, { place: -1, words: new Array<number>(128).fill(index) });
  }
}

const collect = (globalThis as { gc?: () => void }).gc;
const passages: Readonly<Record<string, () => Passage>> = { numberMap, linkedList, roster, map, set };
const make = passages[process.argv[2] ?? ''];
if (collect === undefined || make === undefined)
  throw new Error('needs --expose-gc and what to pass through');
const passage = make();
pass(passage, 0, BEFORE);
collect();
const before = oldBytes();
pass(passage, BEFORE, AFTER);
console.log(oldBytes() - before);
