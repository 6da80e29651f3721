/**
 * The memory budget of all assemblies of a recorder: heads, bodies, and client bytes held while an upgrade is
 * undecided. What exceeds the budget is not kept, and is counted.
 */
export class AssemblyBudget {
  readonly limitBytes: number;
  #usedBytes = 0;
  #refusals = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** How often the budget refused bytes. */
  get refusals(): number {
    return this.#refusals;
  }

  /** Reserves `bytes`, or counts a refusal and reserves none. */
  reserve(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.limitBytes) {
      this.#refusals += 1;
      return false;
    }
    this.#usedBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}

const FIRST_BYTES = 1_024;

/** Why an append was refused: the collector's own limit, or the shared budget. */
export type Refusal = 'limit' | 'budget';

/** Collects bytes in pieces that must be complete: a head, a trailer section. Bounded and budgeted. */
export class GrowingBytes {
  readonly #limitBytes: number;
  readonly #budget: AssemblyBudget;
  #bytes: Buffer | null = null;
  #length = 0;

  constructor(limitBytes: number, budget: AssemblyBudget) {
    this.#limitBytes = limitBytes;
    this.#budget = budget;
  }

  get length(): number {
    return this.#length;
  }

  /** Appends a copy of `bytes[from, to)`; returns the refusal, if any. */
  append(bytes: Uint8Array, from: number, to: number): Refusal | null {
    const needed = this.#length + to - from;
    if (needed > this.#limitBytes) return 'limit';
    const held = this.#bytes?.length ?? 0;
    if (needed > held) {
      const room = Math.min(this.#limitBytes, Math.max(FIRST_BYTES, held * 2, needed));
      if (!this.#budget.reserve(room - held)) return 'budget';
      const grown = Buffer.allocUnsafe(room);
      if (this.#bytes !== null) grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes?.set(bytes.subarray(from, to), this.#length);
    this.#length = needed;
    return null;
  }

  /** The collected bytes; a view until the next append or clear. */
  view(): Buffer {
    return this.#bytes === null ? EMPTY : this.#bytes.subarray(0, this.#length);
  }

  clear(): void {
    if (this.#bytes !== null) this.#budget.release(this.#bytes.length);
    this.#bytes = null;
    this.#length = 0;
  }
}

const EMPTY = Buffer.alloc(0);
