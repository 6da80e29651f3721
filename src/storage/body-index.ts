/** Slots of a table at first and at most; half of them are used before it grows, or gives way to the next. */
const LEAST_SLOTS = 4_096;
const MOST_SLOTS = 1_048_576;

const KEY_WORDS = 4;
const SLOT_WORDS = KEY_WORDS + 1;

/** 0: an empty slot. This one: a row that was rolled back. */
const GONE = 0xffff_ffff;

/**
 * Which body of the segment has a hash, kept in memory only: an index in the file would cost a random page of
 * the write-ahead log for every body (measured in docs/adr/0003). It remembers at least the last half million
 * distinct bodies, in 40 MiB at most, by the 16 bytes of their hash: with only half of them here, every repeat
 * would have to be proved against its row, at several times the cost of the search.
 */
export class BodyIndex {
  #table = new HashTable(LEAST_SLOTS);
  /** The one before, once the table could grow no more. */
  #earlier: HashTable | null = null;
  readonly #key = new Uint32Array(4);

  /** Row id that was added last with this hash and number of kept bytes; null when there is none known. */
  find(hash: Uint8Array, keptBytes: number | null): number | null {
    this.#take(hash, keptBytes);
    return this.#table.find(this.#key) || this.#earlier?.find(this.#key) || null;
  }

  /** @param id from 1 to 4,294,967,294 */
  add(hash: Uint8Array, keptBytes: number | null, id: number): void {
    if (this.#table.isFull) {
      if (this.#table.slots < MOST_SLOTS) this.#table = this.#table.doubled();
      else {
        this.#earlier = this.#table;
        this.#table = new HashTable(LEAST_SLOTS);
      }
    }
    this.#take(hash, keptBytes);
    this.#table.put(this.#key, id);
  }

  /** Forgets rows above this id: they were rolled back, and other bodies will have their ids. */
  forgetAbove(id: number): void {
    this.#table.forgetAbove(id);
    this.#earlier?.forgetAbove(id);
  }

  /** The words of the hash; length and kept bytes are folded in, so that stumps of one body do not share a key. */
  #take(hash: Uint8Array, keptBytes: number | null): void {
    const key = this.#key;
    const fold = Math.imul((keptBytes ?? -1) + 1, 0x9e3779b1) ^ hash.length;
    key[0] = wordOf(hash, 0);
    key[1] = wordOf(hash, 4);
    key[2] = wordOf(hash, 8);
    key[3] = wordOf(hash, 12) ^ fold;
  }
}

/** Four bytes, those past the end being 0. By hand: a view for each hash costs more than what it reads. */
function wordOf(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)
  );
}

/** Open addressing over typed arrays: 20 bytes a slot and nothing for a garbage collector to walk. */
class HashTable {
  readonly slots: number;
  /** Five numbers a slot: the key, and the id. */
  readonly #entries: Uint32Array;
  #used = 0;

  constructor(slots: number) {
    this.slots = slots;
    this.#entries = new Uint32Array(slots * SLOT_WORDS);
  }

  get isFull(): boolean {
    return this.#used >= this.slots / 2;
  }

  /** 0 when it is not here. */
  find(key: Uint32Array): number {
    const id = this.#entries[this.#placeOf(key) + KEY_WORDS] ?? 0;
    return id === GONE ? 0 : id;
  }

  put(key: Uint32Array, id: number): void {
    const place = this.#placeOf(key);
    if (this.#entries[place + KEY_WORDS] === 0) this.#used += 1;
    this.#entries.set(key, place);
    this.#entries[place + KEY_WORDS] = id;
  }

  doubled(): HashTable {
    const larger = new HashTable(this.slots * 2);
    for (let place = 0; place < this.#entries.length; place += SLOT_WORDS) {
      const id = this.#entries[place + KEY_WORDS] ?? 0;
      if (id !== 0 && id !== GONE) larger.put(this.#entries.subarray(place, place + KEY_WORDS), id);
    }
    return larger;
  }

  forgetAbove(id: number): void {
    for (let place = KEY_WORDS; place < this.#entries.length; place += SLOT_WORDS) {
      if ((this.#entries[place] ?? 0) > id) this.#entries[place] = GONE;
    }
  }

  /** Where the key is, or would be put. Half of the slots are free, so it ends. */
  #placeOf(key: Uint32Array): number {
    const entries = this.#entries;
    let slot = (key[0] ?? 0) & (this.slots - 1);
    for (;;) {
      const place = slot * SLOT_WORDS;
      if (entries[place + KEY_WORDS] === 0 || this.#isAt(place, key)) return place;
      slot = (slot + 1) & (this.slots - 1);
    }
  }

  #isAt(place: number, key: Uint32Array): boolean {
    const entries = this.#entries;
    return (
      entries[place] === key[0] &&
      entries[place + 1] === key[1] &&
      entries[place + 2] === key[2] &&
      entries[place + 3] === key[3]
    );
  }
}
