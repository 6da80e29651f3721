/**
 * The values of all sessions in memory of a fixed size: hashes only, in tables of numbers, because an object for each
 * value would cost the recorder ten times the memory and the time of its collections.
 */

/** Values in a generation, of which there are two. With 12 bytes each, both take 12 MiB. */
const SLOTS = 2 ** 19;
const FULL = Math.floor(0.7 * SLOTS);

/** Of each slot: the second half of the hash, 0 if it is free; then the number and the place. Together in memory. */
const CELLS = 3;
const NUMBER = 1;
const PLACE = 2;
const GENERATION_BYTES = 4 * CELLS * SLOTS;

/** Values that were met since a generation began, in a table with open addressing. */
class Generation {
  readonly cells = new Uint32Array(CELLS * SLOTS);
  count = 0;

  clear(): void {
    this.cells.fill(0);
    this.count = 0;
  }

  /** Where a value is in the cells; -1 if it is not here. */
  find(low: number, high: number): number {
    const at = this.#place(low, high);
    return this.cells[at] === 0 ? -1 : at;
  }

  put(low: number, high: number, number: number, place: number): number {
    const at = this.#place(low, high);
    if (this.cells[at] === 0) this.count += 1;
    this.cells[at] = tagOf(high);
    this.cells[at + NUMBER] = number;
    this.cells[at + PLACE] = place;
    return at;
  }

  #place(low: number, high: number): number {
    const tag = tagOf(high);
    const { cells } = this;
    let slot = spread(low) & (SLOTS - 1);
    for (;;) {
      const known = cells[CELLS * slot];
      if (known === 0 || known === tag) return CELLS * slot;
      slot = (slot + 1) & (SLOTS - 1);
    }
  }
}

function tagOf(high: number): number {
  return spread(high) >>> 0 || 1;
}

/** Every bit of the result depends on all of the argument. */
function spread(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x21f0aaad);
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed, 0x735a2d97);
  return mixed ^ (mixed >>> 15);
}

/** Memory that is charged to somebody. */
export interface Charge {
  /** Returns whether there is so much. */
  reserve(bytes: number): boolean;
}

/** Values by session, which the caller mixes into the hash. Those that were not met for long are forgotten. */
export class SessionValues {
  #latest: Generation | null = null;
  #earlier: Generation | null = null;
  readonly #charge: Charge;
  readonly #onForgotten: (count: number) => void;

  /** @param onForgotten gets how many values were forgotten at once, because there were too many */
  constructor(charge: Charge, onForgotten: (count: number) => void) {
    this.#charge = charge;
    this.#onForgotten = onForgotten;
  }

  /** Whether there is memory for any. To be asked before values are put. */
  get hasRoom(): boolean {
    if (this.#latest === null && this.#charge.reserve(GENERATION_BYTES)) this.#latest = new Generation();
    return this.#latest !== null;
  }

  /** Whether a value was met lately. It stays known for at least as long as those that were met before it. */
  isRecent(low: number, high: number): boolean {
    return this.#latest !== null && this.#latest.find(low, high) >= 0;
  }

  /** Number of the exchange that issued the value of this slot; 0 if a request had it first. */
  numberAt(slot: number): number {
    return this.#latest?.cells[slot + NUMBER] ?? 0;
  }

  placeAt(slot: number): number {
    return this.#latest?.cells[slot + PLACE] ?? 0;
  }

  setPlace(slot: number, place: number): void {
    if (this.#latest !== null) this.#latest.cells[slot + PLACE] = place;
  }

  /** The slot of a value, valid until the next call; -1 for one that is not known. */
  find(low: number, high: number): number {
    const at = this.#latest?.find(low, high) ?? -1;
    if (at >= 0 || this.#earlier === null) return at;
    const earlier = this.#earlier.find(low, high);
    if (earlier < 0) return -1;
    const { cells } = this.#earlier;
    return this.put(low, high, cells[earlier + NUMBER]!, cells[earlier + PLACE]!);
  }

  put(low: number, high: number, number: number, place: number): number {
    const latest = this.#latest === null || this.#latest.count >= FULL ? this.#next() : this.#latest;
    return latest.put(low, high, number, place);
  }

  /** An empty generation. Without memory for two, there is one. */
  #next(): Generation {
    let next = this.#earlier;
    if (this.#latest !== null && next === null && !this.#charge.reserve(GENERATION_BYTES)) {
      next = this.#latest;
      this.#latest = null;
    }
    if (next !== null) this.#onForgotten(next.count);
    next?.clear();
    this.#earlier = this.#latest;
    this.#latest = next ?? new Generation();
    return this.#latest;
  }
}

const SHARED_SLOTS = 2 ** 16;
/** What `SharedValues` takes. */
export const SHARED_BYTES = 9 * SHARED_SLOTS;
const MOST_SESSIONS = 255;

/**
 * In how many sessions a value occurred. The table loses values that share a slot, those of few sessions first: a value
 * of many sessions soon comes again.
 */
export class SharedValues {
  readonly #tags = new Uint32Array(SHARED_SLOTS);
  readonly #sessions = new Uint32Array(SHARED_SLOTS);
  readonly #counts = new Uint8Array(SHARED_SLOTS);

  /** Notes that a value occurred in a session. Several times in a row count once. */
  note(low: number, high: number, session: number): void {
    const at = spread(low) & (SHARED_SLOTS - 1);
    const tag = tagOf(high);
    const count = this.#counts[at]!;
    if (this.#tags[at] !== tag) {
      if (count > 1) this.#counts[at] = count - 1;
      else {
        this.#tags[at] = tag;
        this.#sessions[at] = session;
        this.#counts[at] = 1;
      }
    } else if (this.#sessions[at] !== session) {
      this.#sessions[at] = session;
      this.#counts[at] = Math.min(MOST_SESSIONS, count + 1);
    }
  }

  /** Sessions in which the value is known to have occurred. */
  count(low: number, high: number): number {
    const at = spread(low) & (SHARED_SLOTS - 1);
    return this.#tags[at] === tagOf(high) ? this.#counts[at]! : 0;
  }
}
