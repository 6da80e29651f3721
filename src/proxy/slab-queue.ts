import type { Writable } from 'node:stream';
import { LIMITS } from '../core/limits.ts';
import { giveBack } from '../core/spent-memory.ts';
import { FRAME_HEADER_BYTES, type FrameType, writeFrameHeader } from './frames.ts';

/** What a frame carries besides its payload. */
export interface FrameHead {
  readonly type: FrameType;
  readonly flags: number;
  readonly connection: number;
  readonly atNs: number;
}

interface Slab {
  readonly bytes: Buffer;
  used: number;
}

/** Empty slabs kept for reuse; more than a busy pipe holds in flight would only be idle memory. */
const SPARE_SLABS = 16;
/** Full slabs are written at the latest when there are so many. */
const SLABS_AT_ONCE = 8;

/**
 * Frames on their way into the recorder's pipe, copied at once into slabs of a fixed size: a chunk that was
 * merely referenced would keep alive the whole buffer it was read into. The budget counts slabs, so it is the
 * memory that is really held. Frames are collected for some milliseconds, because a write per chunk would cost
 * both processes a system call per chunk.
 */
export class SlabQueue {
  readonly #budgetSlabs: number;
  readonly #spare: Buffer[] = [];
  #pipe: Writable | null = null;
  #current: Slab | null = null;
  /** Full ones that wait to be written together. */
  #full: Slab[] = [];
  #slabs = 0;
  #timer: NodeJS.Timeout | null = null;

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
    for (const slab of this.#take()) this.#release(slab.bytes);
    this.#pipe = pipe;
  }

  /**
   * Takes a frame whole, or not at all: false means the budget is spent or nobody listens. Long payloads are cut
   * into several frames of the same type, of which only the first keeps the flags.
   */
  append(head: FrameHead, payload: Uint8Array): boolean {
    if (!this.#pipe || !this.#fits(payload.length)) return false;
    this.#copy(head, payload, Math.min(payload.length, 1));
    return true;
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
    this.#timer = null;
    const slabs = this.#take();
    if (slabs.length > 1) this.#pipe?.cork();
    for (const slab of slabs) this.#write(slab);
    if (slabs.length > 1) this.#pipe?.uncork();
  }

  #fits(payloadBytes: number): boolean {
    const room = this.#current ? LIMITS.slabBytes - this.#current.used : 0;
    const perSlab = LIMITS.slabBytes - FRAME_HEADER_BYTES;
    const beyond = Math.max(0, payloadBytes + FRAME_HEADER_BYTES - room);
    return this.#slabs + Math.ceil(beyond / perSlab) <= this.#budgetSlabs;
  }

  /** @param together bytes of the payload that must lie in the first frame */
  #copy(head: FrameHead, payload: Uint8Array, together: number): void {
    let taken = 0;
    do {
      const slab = this.#slabWithRoom(taken === 0 ? together : 1);
      const length = Math.min(payload.length - taken, LIMITS.slabBytes - slab.used - FRAME_HEADER_BYTES);
      writeFrameHeader(slab.bytes, slab.used, taken === 0 ? head : { ...head, flags: 0 }, length);
      const part = length === payload.length ? payload : payload.subarray(taken, taken + length);
      slab.bytes.set(part, slab.used + FRAME_HEADER_BYTES);
      slab.used += FRAME_HEADER_BYTES + length;
      taken += length;
    } while (taken < payload.length);
    this.#timer ??= setTimeout(() => this.flush(), LIMITS.flushDelayMs);
  }

  #slabWithRoom(payloadBytes: number): Slab {
    const current = this.#current;
    if (current && LIMITS.slabBytes - current.used >= FRAME_HEADER_BYTES + Math.max(payloadBytes, 32))
      return current;
    if (current) this.#full.push(current);
    this.#current = null;
    // Not at once: the chunk that filled it is on its way to a peer, and the next may be waiting in a socket.
    if (this.#full.length >= SLABS_AT_ONCE) this.flush();
    this.#slabs += 1;
    this.#current = { bytes: this.#spare.pop() ?? Buffer.allocUnsafeSlow(LIMITS.slabBytes), used: 0 };
    return this.#current;
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
    if (this.#pipe) this.#pipe.write(slab.bytes.subarray(0, slab.used), () => this.#release(slab.bytes));
    else this.#release(slab.bytes);
  }

  #release(bytes: Buffer): void {
    this.#slabs -= 1;
    if (this.#spare.length < SPARE_SLABS) this.#spare.push(bytes);
    else giveBack(bytes);
  }
}
