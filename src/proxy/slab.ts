import { LIMITS } from '../core/limits.ts';
import { giveBack } from '../core/spent-memory.ts';
import { FRAME_HEADER_BYTES } from './frames.ts';
import { WaitingWrites } from './waiting-writes.ts';

/**
 * Memory of a fixed size through which traffic passes. It may be read into, written to a peer and written to the
 * recorder at one time; each of those holds it, and the last one to let go gives it back to its pool.
 */
export class Slab {
  readonly pool: SlabPool;
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(LIMITS.slabBytes);
  /** What a socket is read into: behind the room for the header of the frame that its bytes become. */
  readonly body: Buffer = this.bytes.subarray(FRAME_HEADER_BYTES);
  /** How much of it the queue has filled with frames, from its beginning. */
  used = 0;
  #holders = 0;

  constructor(pool: SlabPool) {
    this.pool = pool;
  }

  get holders(): number {
    return this.#holders;
  }

  hold(): void {
    this.#holders += 1;
  }

  /** Not to be touched afterwards by who held it. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.pool.takeBack(this);
  }
}

/** Bytes to be passed on, and where they lie. */
export interface Piece {
  readonly bytes: Buffer;
  /** Null for memory that is lent for the length of a call. */
  readonly slab: Slab | null;
}

/** A piece of a slab. Most are never asked for their bytes, and a view of them costs more than to write them there. */
export class SlabPiece implements Piece {
  readonly slab: Slab;
  readonly #from: number;
  readonly #to: number;

  constructor(slab: Slab, from: number, to: number) {
    this.slab = slab;
    this.#from = from;
    this.#to = to;
  }

  get length(): number {
    return this.#to - this.#from;
  }

  get bytes(): Buffer {
    return this.slab.bytes.subarray(this.#from, this.#to);
  }
}

/** The slabs of a process. */
export class SlabPool {
  /** Those of them that writes wait in. */
  readonly waiting = new WaitingWrites();
  readonly #spare: Slab[] = [];
  #shortages = 0;

  /** How often as many were lent, or waited in, as may be, so that what passed was copied instead. */
  get shortages(): number {
    return this.#shortages;
  }

  noteShortage(): void {
    this.#shortages += 1;
  }

  /** A slab that only the caller holds. */
  take(): Slab {
    const slab = this.#spare.pop() ?? new Slab(this);
    slab.used = 0;
    slab.hold();
    return slab;
  }

  /** Nobody holds it. */
  takeBack(slab: Slab): void {
    if (this.#spare.length < LIMITS.spareSlabs) this.#spare.push(slab);
    else giveBack(slab.bytes);
  }
}
