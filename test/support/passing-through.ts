import { EventEmitter } from 'node:events';
import { getHeapSpaceStatistics } from 'node:v8';
import { systemClock } from '../../src/core/clock.ts';
import { LinkedList } from '../../src/core/linked-list.ts';
import { NumberMap } from '../../src/core/number-map.ts';
import { Roster } from '../../src/core/roster.ts';
import { Counters } from '../../src/proxy/tap/counters.ts';
import { RecorderClient } from '../../src/proxy/tap/recorder-client.ts';
import type { TapConnection } from '../../src/proxy/tap-connection.ts';
import { SessionMemory } from '../../src/replay/plan/sessions.ts';

/**
 * A process of its own, with `--expose-gc`: has objects come and go after a full collection, and prints by how many
 * bytes the old generation has grown.
 */

/** At once, as requests under way. */
const HELD = 32;
const BEFORE = 20_000;
const AFTER = 20_000;
/** Emitters that stay. */
const LASTING = 500;

/** A kilobyte. */
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

/** Now and then many more come and go, so that tables are made anew with what is passing. */
function resizedNumberMap(): Passage {
  const map = new NumberMap<Passing | null>();
  const more = Array.from({ length: 1_000 }, (_, at) => 2 ** 40 + at);
  return {
    add: (index, item) => {
      map.set(index, item);
      if (index % 50 > 0) return;
      for (const key of more) map.set(key, null);
      for (const key of more) map.delete(key);
    },
    remove: (index) => map.delete(index),
  };
}

function map(): Passage {
  const held = new Map<number, Passing>();
  return { add: (index, item) => held.set(index, item), remove: (index) => held.delete(index) };
}

function linkedList(): Passage {
  const list = new LinkedList<Passing>();
  return { add: (_, item) => list.push(item), remove: () => list.shift() };
}

interface Uncleared {
  readonly item: Passing;
  next: Uncleared | null;
}

/** A list whose entries keep their links when they are removed. */
function uncleared(): Passage {
  let first: Uncleared | null = null;
  let last: Uncleared | null = null;
  return {
    add: (_, item) => {
      const entry: Uncleared = { item, next: null };
      if (last === null) first = entry;
      else last.next = entry;
      last = entry;
    },
    remove: () => {
      first = first?.next ?? null;
    },
  };
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

/** Connections of a forwarder without a recorder, which are settled as they are closed. */
function recorderLink(): Passage {
  const link = new RecorderClient({ clock: systemClock, counters: new Counters() });
  const taps: TapConnection[] = [];
  const bytes = Buffer.from('GET / HTTP/1.1\r\n\r\n');
  return {
    add: (index) => {
      const tap = link.open();
      tap.client(bytes);
      taps[index % HELD] = tap;
    },
    remove: (index) => taps[index % HELD]?.close('client_end'),
  };
}

/** Sessions that go on, however many exchanges they have. */
function sessions(): Passage {
  const memory = new SessionMemory<number>();
  return {
    add: (index) => memory.of(`session ${index % HELD}`, 0, () => 1),
    remove: () => undefined,
  };
}

/**
 * Emitters that two listen to, as to a request. Node keeps the two in an array, and one place in its code makes those
 * of a process: some of sockets that stay open are the first.
 */
function listeners(): Passage {
  const emitters = Array.from({ length: LASTING }, (_, index) => heard(index));
  collect?.();
  return {
    add: (index, item) => {
      emitters[LASTING + (index % HELD)] = heard(item);
    },
    remove: () => undefined,
  };
}

function heard(told: unknown): EventEmitter {
  return new EventEmitter().on('end', () => told).on('end', () => told);
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
const passages: Readonly<Record<string, () => Passage>> = {
  numberMap,
  resizedNumberMap,
  linkedList,
  uncleared,
  roster,
  recorderLink,
  sessions,
  listeners,
  map,
  set,
};
const make = passages[process.argv[2] ?? ''];
if (collect === undefined || make === undefined)
  throw new Error('needs --expose-gc and what to pass through');
const passage = make();
pass(passage, 0, BEFORE);
collect();
const before = oldBytes();
pass(passage, BEFORE, AFTER);
console.log(oldBytes() - before);
