import { hashOf } from './number-hash.ts';

/** Slots there are at first; a power of two, as is their number ever after. */
const FIRST_SLOTS = 16;
/** A table with no more than these, 16 KB, is kept however little is in it. */
const KEPT_SLOTS = 1_024;
/** No key. */
const EMPTY = -1;

/**
 * Values under whole numbers from 0 to below 2^53, for what comes and goes with requests and connections. In V8 what
 * passes through a `Map` stays in memory until the next full collection: a map makes itself a new table every so many
 * additions, the old one points to it, and once one is in the old generation each keeps the next alive with all that
 * was in it. Here a table is made anew only when it has become too small or far too large, and what was removed, or
 * lay in a table that is not used any more, is referenced no longer.
 *
 * Open addressing: a key lies in the first free slot from the one that it hashes to, and a removal moves those behind
 * it up, so that no slot is marked as once used. At most half of the slots are taken, and at least one in sixteen of
 * more than 1,024: a table that is fuller gets twice as many, one that is emptier a quarter of them. Either way as
 * many come as are there, or three quarters of those go, before the next time. A slot takes 16 bytes.
 */
export class NumberMap<Value> {
  #keys = new Float64Array(FIRST_SLOTS).fill(EMPTY);
  #values = emptyValues<Value>(FIRST_SLOTS);
  #mask = FIRST_SLOTS - 1;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: number): Value | undefined {
    const slot = this.#find(key);
    return slot === EMPTY ? undefined : this.#values[slot];
  }

  has(key: number): boolean {
    return this.#find(key) !== EMPTY;
  }

  /** @throws RangeError for a key that is negative, not whole, or too large to be told from its neighbour */
  set(key: number, value: Value): this {
    let slot = this.#find(key);
    if (slot === EMPTY) {
      if (!Number.isSafeInteger(key) || key < 0) {
        throw new RangeError(`a key is a whole number from 0 to below 2^53, not ${key}`);
      }
      if (2 * (this.#size + 1) > this.#keys.length) this.#resize(2 * this.#keys.length);
      slot = this.#place(key);
      this.#size += 1;
    }
    this.#values[slot] = value;
    return this;
  }

  /** @returns whether there was one */
  delete(key: number): boolean {
    let free = this.#find(key);
    if (free === EMPTY) return false;
    const mask = this.#mask;
    for (let slot = (free + 1) & mask; ; slot = (slot + 1) & mask) {
      const moved = this.#keys[slot] as number;
      if (moved === EMPTY) break;
      // One may be moved up to the slot it hashes to, and not before it.
      if (((slot - this.#home(moved)) & mask) < ((slot - free) & mask)) continue;
      this.#keys[free] = moved;
      this.#values[free] = this.#values[slot];
      free = slot;
    }
    this.#keys[free] = EMPTY;
    this.#values[free] = undefined;
    this.#size -= 1;
    const slots = this.#keys.length;
    if (slots > KEPT_SLOTS && 16 * this.#size < slots) this.#resize(slots / 4);
    return true;
  }

  /** Those that are here now, in no order. It is a copy: the map may be changed in any way while it is walked. */
  values(): Value[] {
    const values: Value[] = [];
    if (this.#size === 0) return values;
    // By index, here and below: an iterator of a typed array takes more than twice as long, and more until it is compiled.
    const keys = this.#keys;
    for (let slot = 0; slot < keys.length; slot += 1) {
      if (keys[slot] !== EMPTY) values.push(this.#values[slot] as Value);
    }
    return values;
  }

  clear(): void {
    if (this.#size === 0) return;
    this.#size = 0;
    // Whether it is kept or not: in the old generation it would keep what it holds until a full collection.
    this.#values.fill(undefined);
    if (this.#keys.length > KEPT_SLOTS) this.#begin(FIRST_SLOTS);
    else this.#keys.fill(EMPTY);
  }

  /** The slot of a key; none for what is no key as well. */
  #find(key: number): number {
    for (let slot = this.#home(key); ; slot = (slot + 1) & this.#mask) {
      const found = this.#keys[slot];
      if (found === EMPTY) return EMPTY;
      if (found === key) return slot;
    }
  }

  /** Takes a slot for a key that has none. */
  #place(key: number): number {
    let slot = this.#home(key);
    while (this.#keys[slot] !== EMPTY) slot = (slot + 1) & this.#mask;
    this.#keys[slot] = key;
    return slot;
  }

  #home(key: number): number {
    return hashOf(key) & this.#mask;
  }

  #resize(slots: number): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#begin(slots);
    for (let slot = 0; slot < keys.length; slot += 1) {
      const key = keys[slot] as number;
      if (key === EMPTY) continue;
      this.#values[this.#place(key)] = values[slot];
      // As in `clear`.
      values[slot] = undefined;
    }
  }

  /** An empty table. */
  #begin(slots: number): void {
    this.#keys = new Float64Array(slots).fill(EMPTY);
    this.#values = emptyValues(slots);
    this.#mask = slots - 1;
  }
}

function emptyValues<Value>(slots: number): (Value | undefined)[] {
  return new Array<Value | undefined>(slots).fill(undefined);
}
