import { LIMITS } from '../../core/limits.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';

/** Client bytes that came while it was undecided whether they are HTTP. */
export interface HeldPiece {
  readonly atNs: number;
  readonly bytes: Buffer;
  /** Offset of the first byte from the start of the connection. */
  readonly clientOffset: number;
  readonly turns: number;
}

/** Holds what a client says between asking for an upgrade (or a tunnel) and the answer. Bounded, budgeted. */
export class HeldBytes {
  readonly #budget: AssemblyBudget;
  #pieces: HeldPiece[] = [];
  #costBytes = 0;

  constructor(budget: AssemblyBudget) {
    this.#budget = budget;
  }

  /** Turns begun in what is held. */
  get turns(): number {
    return this.#pieces.reduce((sum, piece) => sum + piece.turns, 0);
  }

  /** Holds a copy of the piece, or says why not. */
  add(piece: HeldPiece): 'limit' | 'budget' | null {
    // A single byte is charged for what it costs to hold it, or a client that drips would be held for nothing.
    const cost = piece.bytes.length + LIMITS.heldPieceBytes;
    if (this.#costBytes + cost > LIMITS.heldClientBytes) return 'limit';
    if (!this.#budget.reserve(cost)) return 'budget';
    this.#costBytes += cost;
    this.#pieces.push({ ...piece, bytes: Buffer.from(piece.bytes) });
    return null;
  }

  /** Everything held, in order; nothing is held afterwards. */
  take(): readonly HeldPiece[] {
    const pieces = this.#pieces;
    this.clear();
    return pieces;
  }

  clear(): void {
    this.#budget.release(this.#costBytes);
    this.#costBytes = 0;
    this.#pieces = [];
  }
}
