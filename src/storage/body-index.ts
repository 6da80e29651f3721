/** Places of a set: an entry may stand in any of them. */
const WAYS = 4;
/** Sets at first and at most: 1,048,576 entries in 12 MiB. */
const LEAST_SETS = 1_024;
const MOST_SETS = 262_144;

/**
 * Which body of the segment has a hash, kept in memory only: an index in the file would cost a random page of
 * the write-ahead log for every body (measured in docs/adr/0003). It remembers the last million distinct
 * bodies by 64 bits of their hash; a hit is a hint the caller proves against the row.
 */
export class BodyIndex {
  #sets = LEAST_SETS;
  #size = 0;
  #low = new Uint32Array(LEAST_SETS * WAYS);
  #high = new Uint32Array(LEAST_SETS * WAYS);
  /** 0: empty. */
  #ids = new Uint32Array(LEAST_SETS * WAYS);

  /** Row ids that may have this hash, the likeliest first. */
  candidates(hash: Uint8Array): number[] {
    const [low, high] = wordsOf(hash);
    const base = (low & (this.#sets - 1)) * WAYS;
    const found: number[] = [];
    for (let place = base; place < base + WAYS; place += 1) {
      const id = this.#ids[place] ?? 0;
      if (id !== 0 && this.#low[place] === low && this.#high[place] === high) found.push(id);
    }
    return found;
  }

  /** Remembers a row; the oldest of a full set makes room. */
  add(hash: Uint8Array, id: number): void {
    if (this.#size >= this.#sets * (WAYS - 1) && this.#sets < MOST_SETS) this.#grow();
    const [low, high] = wordsOf(hash);
    this.#place(low, high, id);
  }

  #place(low: number, high: number, id: number): void {
    const base = (low & (this.#sets - 1)) * WAYS;
    const last = base + WAYS - 1;
    if (this.#ids[last] === 0) this.#size += 1;
    // Newest first, so that what falls out of a full set is its oldest.
    this.#low.copyWithin(base + 1, base, last);
    this.#high.copyWithin(base + 1, base, last);
    this.#ids.copyWithin(base + 1, base, last);
    this.#low[base] = low;
    this.#high[base] = high;
    this.#ids[base] = id;
  }

  #grow(): void {
    const [low, high, ids] = [this.#low, this.#high, this.#ids];
    this.#sets *= 2;
    this.#size = 0;
    this.#low = new Uint32Array(this.#sets * WAYS);
    this.#high = new Uint32Array(this.#sets * WAYS);
    this.#ids = new Uint32Array(this.#sets * WAYS);
    // From a set's last place to its first, which keeps the newest in front.
    for (let place = ids.length - 1; place >= 0; place -= 1) {
      const id = ids[place] ?? 0;
      if (id !== 0) this.#place(low[place] ?? 0, high[place] ?? 0, id);
    }
  }
}

function wordsOf(hash: Uint8Array): [low: number, high: number] {
  const view = new DataView(hash.buffer, hash.byteOffset, hash.byteLength);
  return hash.byteLength >= 8 ? [view.getUint32(0, true), view.getUint32(4, true)] : [hash.byteLength, 0];
}
