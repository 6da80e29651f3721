import type { AssemblyBudget } from './budget.ts';

const FIRST_BYTES = 1_024;

/** Why an append was refused: the collector's own limit, or the budget all connections share. */
export type Refusal = 'limit' | 'budget';

/** Bytes that arrive in pieces and must be seen whole: a head, a trailer section. Bounded and budgeted. */
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

  /** Appends a copy of `bytes[from, to)`, or says what stands against it. */
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

  /** What was collected; a view that the next append or clear invalidates. */
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
