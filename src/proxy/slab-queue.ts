import type { Writable } from 'node:stream';
import { LIMITS } from '../core/limits.ts';
import { FRAME_HEADER_BYTES, type FrameType, writeFrameHeader } from './frames.ts';

/** What a frame carries besides its payload. */
export interface FrameHead {
  readonly type: FrameType;
  readonly flags: number;
  readonly connection: number;
  readonly atNs: number;
}

/** Frames, one behind the other. */
interface Slab {
  readonly bytes: Buffer;
  used: number;
}

/** A chunk that is its own buffer, and its frame's header: counts as a slab. */
interface KeptChunk {
  readonly header: Buffer;
  readonly chunk: Uint8Array;
}

/** Empty slabs kept for reuse; more than a busy pipe holds in flight would only be idle memory. */
const SPARE_SLABS = 16;
/**
 * Full slabs are written at the latest when there are so many. A body of some megabytes passes within the flush
 * delay: what went into the pipe meanwhile would take the processor from those who pass it on and answer it.
 */
const SLABS_AT_ONCE = 128;
/** A chunk from this size on that fills the buffer it was read into is kept as it is instead of copied. */
const KEPT_CHUNK_BYTES = LIMITS.slabBytes / 2;

/**
 * Frames on their way into the recorder's pipe, copied at once into slabs of a fixed size: a small chunk that was
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
  #full: (Slab | KeptChunk)[] = [];
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
    for (const held of this.#take()) this.#release(held);
    this.#pipe = pipe;
  }

  /**
   * Takes a frame whole, or not at all: false means the budget is spent or nobody listens. Long payloads are cut
   * into several frames of the same type, of which only the first keeps the flags.
   */
  append(head: FrameHead, payload: Uint8Array): boolean {
    const kept = isKeptWhole(payload);
    if (!this.#pipe || !(kept ? this.#slabs < this.#budgetSlabs : this.#fits(payload.length))) return false;
    if (kept) this.#keep(head, payload);
    else this.#copy(head, payload, Math.min(payload.length, 1));
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
    const held = this.#take();
    if (held.length === 0) return;
    this.#pipe?.cork();
    for (const each of held) this.#write(each);
    this.#pipe?.uncork();
  }

  #fits(payloadBytes: number): boolean {
    const room = this.#current ? LIMITS.slabBytes - this.#current.used : 0;
    const perSlab = LIMITS.slabBytes - FRAME_HEADER_BYTES;
    const beyond = Math.max(0, payloadBytes + FRAME_HEADER_BYTES - room);
    return this.#slabs + Math.ceil(beyond / perSlab) <= this.#budgetSlabs;
  }

  /** Takes a large chunk as it is, behind a header of its own. */
  #keep(head: FrameHead, payload: Uint8Array): void {
    this.#endCurrent();
    const header = Buffer.alloc(FRAME_HEADER_BYTES);
    writeFrameHeader(header, 0, head, payload.length);
    this.#slabs += 1;
    this.#full.push({ header, chunk: payload });
    this.#flushSoon();
  }

  /** @param together bytes of the payload that must lie in the first frame */
  #copy(head: FrameHead, payload: Uint8Array, together: number): void {
    let taken = 0;
    do {
      const slab = this.#slabWithRoom(taken === 0 ? together : 1);
      const length = Math.min(payload.length - taken, LIMITS.slabBytes - slab.used - FRAME_HEADER_BYTES);
      writeFrameHeader(slab.bytes, slab.used, taken === 0 ? head : { ...head, flags: 0 }, length);
      slab.bytes.set(payload.subarray(taken, taken + length), slab.used + FRAME_HEADER_BYTES);
      slab.used += FRAME_HEADER_BYTES + length;
      taken += length;
    } while (taken < payload.length);
    this.#flushSoon();
  }

  #slabWithRoom(payloadBytes: number): Slab {
    const current = this.#current;
    if (current && LIMITS.slabBytes - current.used >= FRAME_HEADER_BYTES + Math.max(payloadBytes, 32))
      return current;
    this.#endCurrent();
    this.#slabs += 1;
    this.#current = { bytes: this.#spare.pop() ?? Buffer.allocUnsafeSlow(LIMITS.slabBytes), used: 0 };
    return this.#current;
  }

  #endCurrent(): void {
    if (this.#current) this.#full.push(this.#current);
    this.#current = null;
    // Not at once: the chunk that filled it is on its way to a peer, and the next may be waiting in a socket.
    if (this.#full.length >= SLABS_AT_ONCE) this.flush();
  }

  #flushSoon(): void {
    this.#timer ??= setTimeout(() => this.flush(), LIMITS.flushDelayMs);
  }

  /** All that was collected; nothing is left. */
  #take(): (Slab | KeptChunk)[] {
    const held = this.#full;
    if (this.#current) held.push(this.#current);
    this.#full = [];
    this.#current = null;
    return held;
  }

  #write(held: Slab | KeptChunk): void {
    if (!this.#pipe) this.#release(held);
    else if ('chunk' in held) {
      this.#pipe.write(held.header);
      this.#pipe.write(held.chunk, () => this.#release(held));
    } else this.#pipe.write(held.bytes.subarray(0, held.used), () => this.#release(held));
  }

  #release(held: Slab | KeptChunk): void {
    this.#slabs -= 1;
    if ('bytes' in held && this.#spare.length < SPARE_SLABS) this.#spare.push(held.bytes);
  }
}

/** Whether keeping a chunk keeps little more than its bytes, and no more than the slab it counts as. */
function isKeptWhole(chunk: Uint8Array): boolean {
  return (
    chunk.length >= KEPT_CHUNK_BYTES &&
    chunk.length <= LIMITS.slabBytes &&
    chunk.buffer.byteLength <= LIMITS.slabBytes
  );
}
