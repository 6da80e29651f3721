import { getHeapSpaceStatistics } from 'node:v8';
import { NumberMap } from '../../src/core/number-map.ts';

/**
 * A process of its own, with `--expose-gc`: prints by how many bytes more is held after a number map has let go of
 * values of a kilobyte each.
 */

type Held = NumberMap<number[]>;

/** Half of 4,096 slots: with one more there are twice as many. */
const FULL = 2_048;
/** A table with room for them is kept when it is emptied. */
const FEW = 500;
const MANY = 100_000;

function oldBytes(): number {
  const spaces = getHeapSpaceStatistics();
  return spaces.find(({ space_name }) => space_name === 'old_space')?.space_used_size ?? 0;
}

function fill(map: Held, from: number, to: number, words = 128): void {
  for (let key = from; key < to; key += 1) map.set(key, new Array<number>(words).fill(key));
}

function empty(map: Held, from: number, to: number): void {
  for (let key = from; key < to; key += 1) map.delete(key);
}

const collect = (globalThis as { gc?: (options?: { type: 'minor' }) => void }).gc;
if (collect === undefined) throw new Error('needs --expose-gc');

/** Has the map give up a table that is in the old generation and holds what is young. */
function givesUpTable(giveUp: (map: Held) => void): number {
  const map: Held = new NumberMap();
  fill(map, 0, FULL);
  // Some stay, and the table with them.
  empty(map, 300, FULL);
  collect?.();
  const before = oldBytes();
  fill(map, 300, FULL);
  giveUp(map);
  empty(map, 0, FULL + 1);
  for (let time = 0; time < 3; time += 1) collect?.({ type: 'minor' });
  return oldBytes() - before + map.size;
}

/** Has it keep a table. */
function keepsTable(letGo: (map: Held) => void): number {
  const map: Held = new NumberMap();
  collect?.();
  const before = oldBytes();
  fill(map, 0, FEW);
  letGo(map);
  collect?.();
  return oldBytes() - before + map.size;
}

function tableBytes(letGo: (map: Held) => void): number {
  const map: Held = new NumberMap();
  collect?.();
  const before = process.memoryUsage().arrayBuffers;
  fill(map, 0, MANY, 1);
  letGo(map);
  collect?.();
  return process.memoryUsage().arrayBuffers - before + map.size;
}

const programs: Readonly<Record<string, () => number>> = {
  'a table that has become too small': () => givesUpTable((map) => fill(map, FULL, FULL + 1)),
  'a table that is cleared and given up': () => givesUpTable((map) => map.clear()),
  'a table that is cleared and kept': () => keepsTable((map) => map.clear()),
  'what is deleted': () => keepsTable((map) => empty(map, 0, FEW)),
  'the room of many that were deleted': () => tableBytes((map) => empty(map, 0, MANY)),
  'the room of many that were cleared': () => tableBytes((map) => map.clear()),
};
const run = programs[process.argv[2] ?? ''];
if (run === undefined) throw new Error('needs what is let go of');
// What is held is held each time; V8 counts a page that it has just begun, 256 KB, as used now and then.
console.log(Math.min(run(), run(), run()));
