import type { Writable } from 'node:stream';
import { LIMITS } from '../core/limits.ts';
import { FRAME_HEADER_BYTES, type FrameType, WHOLE_FRAME_BYTES, writeFrameHeader } from './frames.ts';
import { type Piece, type Slab, SlabPiece, SlabPool } from './slab.ts';

/** What a frame carries besides its payload. */
export interface FrameHead {
  readonly type: FrameType;
  readonly flags: number;
  readonly connection: number;
  readonly atNs: number;
}

/** Of a payload that may be cut, less is not begun at the end of a slab. */
const LEAST_PAYLOAD_BYTES = 32;

/** So many full slabs are written as soon as all that could be read was passed on. */
const SLABS_AT_ONCE = 4;

/**
 * Frames on their way into the recorder's pipe, in slabs: what was read into memory of others is copied into one,
 * what was read into a slab stays there. The budget counts slabs, so it is the memory that is really held. Frames
 * are collected for some milliseconds, because a write per chunk would cost both processes a system call per chunk.
 */
export class SlabQueue {
  readonly pool = new SlabPool();
  readonly #budgetSlabs: number;
  #pipe: Writable | null = null;
  #current: Slab | null = null;
  /** Full ones that wait to be written together. */
  #full: Slab[] = [];
  #slabs = 0;
  #timer: NodeJS.Timeout | null = null;
  #immediate: NodeJS.Immediate | null = null;

  constructor(budgetBytes: number = LIMITS.slabBudgetBytes) {
    this.#budgetSlabs = Math.max(1, Math.floor(budgetBytes / LIMITS.slabBytes));
  }

  /** Memory held now. */
  get heldBytes(): number {
    return this.#slabs * LIMITS.slabBytes;
  }

  /** Half the budget is free: enough to take up a connection that was shed without shedding it again at once. */
  get hasRoom(): boolean {
    return this.#pipe !== null && this.#slabs <= this.#budgetSlabs / 2;
  }

  /** Sends to this pipe from now on; null drops what has not been written. */
  attach(pipe: Writable | null): void {
    for (const slab of this.#take()) this.#release(slab);
    this.#pipe = pipe;
  }

  /**
   * Takes a frame whole, or not at all: null means the budget is spent or nobody listens. Long payloads are cut
   * into several frames of the same type, of which only the first keeps the flags.
   * @returns where its payload lies now, until the call is over and for whoever holds those slabs
   */
  append(head: FrameHead, payload: Uint8Array): readonly Piece[] | null {
    const together = payload.length <= WHOLE_FRAME_BYTES ? payload.length : 1;
    if (!this.#pipe || !this.#fits(payload.length, together)) return null;
    return this.#copy(head, payload, together);
  }

  /**
   * Takes a frame whose payload was read into the body of a slab of this pool, or not, as `append` does. The slab is
   * the queue's to write on in, behind that payload; the caller still holds it, and reads no more into it. Little
   * is copied instead, behind what is there: a slab for it would be spent budget. So is what fits there once the
   * budget is spent.
   */
  adopt(head: FrameHead, slab: Slab, payload: Buffer): readonly Piece[] | null {
    const spent = this.#slabs >= this.#budgetSlabs;
    if (this.#current && (spent || payload.length <= WHOLE_FRAME_BYTES)) return this.append(head, payload);
    if (!this.#pipe || spent) return null;
    writeFrameHeader(slab.bytes, 0, head, payload.length);
    slab.used = FRAME_HEADER_BYTES + payload.length;
    slab.hold();
    this.#begin(slab);
    this.#flushSoon();
    return [{ bytes: payload, slab }];
  }

  /**
   * Takes a frame of a few bytes over the budget: those that close accounts must always go through. It is never
   * cut: whoever reads a control frame reads all of it.
   */
  appendControl(head: FrameHead, payload: Uint8Array): void {
    if (this.#pipe) this.#copy(head, payload, payload.length);
  }

  flush(): void {
    if (this.#timer) clearTimeout(this.#timer);
    if (this.#immediate) clearImmediate(this.#immediate);
    this.#timer = null;
    this.#immediate = null;
    const slabs = this.#take();
    if (slabs.length > 1) this.#pipe?.cork();
    for (const slab of slabs) this.#write(slab);
    if (slabs.length > 1) this.#pipe?.uncork();
  }

  #fits(payloadBytes: number, together: number): boolean {
    // A frame without a payload wants a place as well.
    const beyondBytes = Math.max(1, payloadBytes) - this.#roomBytes(together);
    const perSlabBytes = LIMITS.slabBytes - FRAME_HEADER_BYTES;
    return this.#slabs + Math.ceil(Math.max(0, beyondBytes) / perSlabBytes) <= this.#budgetSlabs;
  }

  /** Room in the current slab for the payload of one more frame; 0 where that is not worth a frame. */
  #roomBytes(together: number): number {
    const roomBytes = this.#current ? LIMITS.slabBytes - this.#current.used - FRAME_HEADER_BYTES : 0;
    return roomBytes >= Math.max(together, LEAST_PAYLOAD_BYTES) ? roomBytes : 0;
  }

  /** @param together bytes of the payload that must lie in the first frame */
  #copy(head: FrameHead, payload: Uint8Array, together: number): readonly Piece[] {
    const first = this.#copyBeginning(head, payload, together);
    const pieces = [first];
    for (let taken = first.length; taken < payload.length; ) {
      const next = this.#copyBeginning({ ...head, flags: 0 }, payload.subarray(taken), 1);
      pieces.push(next);
      taken += next.length;
    }
    this.#flushSoon();
    return pieces;
  }

  /** A frame of as much of a payload as there is room for, at least so many bytes together. */
  #copyBeginning(head: FrameHead, payload: Uint8Array, together: number): SlabPiece {
    const fits = this.#roomBytes(together) > 0;
    const slab = this.#current && fits ? this.#current : this.#begin(this.pool.take());
    const at = slab.used + FRAME_HEADER_BYTES;
    const length = Math.min(payload.length, LIMITS.slabBytes - at);
    writeFrameHeader(slab.bytes, slab.used, head, length);
    slab.bytes.set(length === payload.length ? payload : payload.subarray(0, length), at);
    slab.used = at + length;
    return new SlabPiece(slab, at, slab.used);
  }

  #begin(slab: Slab): Slab {
    if (this.#current) this.#full.push(this.#current);
    this.#slabs += 1;
    this.#current = slab;
    return slab;
  }

  /**
   * Not at once: what fills a slab is on its way to a peer, and the next chunk may be waiting in a socket. Nor while
   * the pipe has not taken what it was given: a slab that is written with little in it is spent budget, and a
   * recorder that stands still would cost one every few milliseconds.
   */
  #flushSoon(): void {
    if (this.#full.length >= SLABS_AT_ONCE && !this.#pipeIsBehind)
      this.#immediate ??= setImmediate(() => this.flush());
    else this.#timer ??= setTimeout(() => this.#flushOrWait(), LIMITS.flushDelayMs);
  }

  #flushOrWait(): void {
    this.#timer = null;
    if (this.#pipeIsBehind) this.#flushSoon();
    else this.flush();
  }

  get #pipeIsBehind(): boolean {
    return this.#pipe !== null && this.#pipe.writableLength > 0;
  }

  /** All that was collected; nothing is left. */
  #take(): Slab[] {
    const slabs = this.#full;
    if (this.#current) slabs.push(this.#current);
    this.#full = [];
    this.#current = null;
    return slabs;
  }

  #write(slab: Slab): void {
    if (this.#pipe) this.#pipe.write(slab.bytes.subarray(0, slab.used), () => this.#written(slab));
    else this.#release(slab);
  }

  #written(slab: Slab): void {
    this.#release(slab);
    if (this.#full.length > 0) this.#flushSoon();
  }

  #release(slab: Slab): void {
    this.#slabs -= 1;
    slab.release();
  }
}
