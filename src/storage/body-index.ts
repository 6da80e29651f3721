/** Slots of a table at first and at most; half of them are used before it grows, or gives way to the next. */
const LEAST_SLOTS = 4_096;
const MOST_SLOTS = 1_048_576;

/**
 * Which body of the segment has a hash, kept in memory only: an index in the file would cost a random page of
 * the write-ahead log for every body (measured in docs/adr/0003). It remembers at least the last half million
 * distinct bodies, by 64 bits of their hash and in 25 MiB at most; what it finds is a hint the caller proves
 * against the row.
 */
export class BodyIndex {
  #table = new HashTable(LEAST_SLOTS);
  /** The one before, once the table could grow no more. */
  #earlier: HashTable | null = null;

  /** Row id that was added last with this hash and number of kept bytes; null when there is none known. */
  find(hash: Uint8Array, keptBytes: number | null): number | null {
    const [low, high] = keyOf(hash, keptBytes);
    return this.#table.find(low, high) || this.#earlier?.find(low, high) || null;
  }

  /** @param id above 0 */
  add(hash: Uint8Array, keptBytes: number | null, id: number): void {
    if (this.#table.isFull) {
      if (this.#table.slots < MOST_SLOTS) this.#table = this.#table.doubled();
      else {
        this.#earlier = this.#table;
        this.#table = new HashTable(LEAST_SLOTS);
      }
    }
    const [low, high] = keyOf(hash, keptBytes);
    this.#table.put(low, high, id);
  }
}

/** Open addressing over typed arrays: 12 bytes a slot and nothing for a garbage collector to walk. */
class HashTable {
  readonly slots: number;
  readonly #low: Uint32Array;
  readonly #high: Uint32Array;
  /** 0: empty. */
  readonly #ids: Uint32Array;
  #used = 0;

  constructor(slots: number) {
    this.slots = slots;
    this.#low = new Uint32Array(slots);
    this.#high = new Uint32Array(slots);
    this.#ids = new Uint32Array(slots);
  }

  get isFull(): boolean {
    return this.#used >= this.slots / 2;
  }

  /** 0 when it is not here. */
  find(low: number, high: number): number {
    return this.#ids[this.#slotOf(low, high)] ?? 0;
  }

  put(low: number, high: number, id: number): void {
    const slot = this.#slotOf(low, high);
    if (this.#ids[slot] === 0) this.#used += 1;
    this.#low[slot] = low;
    this.#high[slot] = high;
    this.#ids[slot] = id;
  }

  doubled(): HashTable {
    const larger = new HashTable(this.slots * 2);
    for (const [slot, id] of this.#ids.entries()) {
      if (id !== 0) larger.put(this.#low[slot] ?? 0, this.#high[slot] ?? 0, id);
    }
    return larger;
  }

  /** Where the key is, or would be put. Half of the slots are free, so it ends. */
  #slotOf(low: number, high: number): number {
    const mask = this.slots - 1;
    let slot = low & mask;
    while (this.#ids[slot] !== 0 && (this.#low[slot] !== low || this.#high[slot] !== high)) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }
}

/** Two words of the hash; the kept bytes are folded in, so that stumps of one body do not share a key. */
function keyOf(hash: Uint8Array, keptBytes: number | null): [low: number, high: number] {
  const fold = Math.imul((keptBytes ?? -1) + 1, 0x9e3779b1) >>> 0;
  if (hash.byteLength < 8) return [fold, hash.byteLength];
  const view = new DataView(hash.buffer, hash.byteOffset, hash.byteLength);
  return [view.getUint32(0, true), (view.getUint32(4, true) ^ fold) >>> 0];
}
