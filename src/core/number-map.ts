/** Slots there are at first; a power of two, as is their number ever after. */
const FIRST_SLOTS = 16;
/** No key. */
const EMPTY = -1;
/** 2^32 by the golden ratio: neighbours come to lie far apart. */
const SPREAD = 0x9e37_79b1;
const WORD = 2 ** 32;

/**
 * Values under whole numbers from 0 to below 2^53, for what comes and goes with requests and connections. In V8 what
 * passes through a `Map` stays in memory until the next full collection: a map makes itself a new table every so many
 * additions, the old one points to it, and once one is in the old generation each keeps the next alive with all that
 * was in it. Here a table is made anew only when there is more in it than ever before, and what was removed, or lies
 * in a table that is not used any more, is referenced no longer.
 *
 * Open addressing: a key lies in the first free slot from the one that it hashes to, and a removal moves those behind
 * it up, so that no slot is marked as once used. At most half of the slots are taken. There never become fewer of
 * them: they are at most four times the greatest number of values that were held at once (16 at least), 16 bytes each.
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
      if (2 * (this.#size + 1) > this.#keys.length) this.#grow();
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
    return true;
  }

  /** Those that are here now, in no order. It is a copy: the map may be changed in any way while it is walked. */
  values(): Value[] {
    const values: Value[] = [];
    if (this.#size === 0) return values;
    for (const [slot, key] of this.#keys.entries())
      if (key !== EMPTY) values.push(this.#values[slot] as Value);
    return values;
  }

  clear(): void {
    if (this.#size === 0) return;
    this.#keys.fill(EMPTY);
    this.#values.fill(undefined);
    this.#size = 0;
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

  /** Of both halves: numbers that differ in the upper one alone must not all hash to the same. */
  #home(key: number): number {
    const mixed = Math.imul((key | 0) ^ Math.imul((key / WORD) | 0, SPREAD), SPREAD);
    return (mixed ^ (mixed >>> 15)) & this.#mask;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    const slots = 2 * keys.length;
    this.#keys = new Float64Array(slots).fill(EMPTY);
    this.#values = emptyValues(slots);
    this.#mask = slots - 1;
    for (const [slot, key] of keys.entries()) {
      if (key !== EMPTY) this.#values[this.#place(key)] = values[slot];
    }
    // In the old generation it would keep what it holds until a full collection.
    values.fill(undefined);
  }
}

function emptyValues<Value>(slots: number): (Value | undefined)[] {
  return new Array<Value | undefined>(slots).fill(undefined);
}
