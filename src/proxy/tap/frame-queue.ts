import type { Writable } from 'node:stream';
import { LIMITS } from '../../core/limits.ts';
import type { Guard } from '../../core/ports.ts';
import { FRAME_HEADER_BYTES, type FrameHead, writeFrameHeader } from './frames.ts';

/**
 * Payloads of at least this size are kept by reference. Smaller ones are copied, because each kept chunk has a cost.
 */
export const REFERENCED_BYTES = 8 * 1024;
/** Memory of a kept chunk besides its bytes. */
const REFERENCE_COST_BYTES = 1024;
/** Headers and small payloads are copied into blocks of this size. */
export const BLOCK_BYTES = 64 * 1024;
/** This many collected bytes are written as soon as everything readable was passed on. */
const WRITTEN_AT_ONCE_BYTES = 512 * 1024;

const NO_BLOCK: Buffer = Buffer.alloc(0);

/** One connection's share of a queue. */
export class QueueShare {
  heldBytes = 0;
  /** Those of them that were not given to the pipe yet. */
  collectedBytes = 0;
}

interface Taken {
  readonly pieces: Buffer[];
  readonly blocks: readonly Buffer[];
  /** Its part of the budget. */
  readonly cost: number;
  /** The connections that it belongs to, with the bytes of each. */
  readonly shares: readonly (readonly [share: QueueShare, bytes: number])[];
}

/**
 * Frames on their way into the recorder's pipe, under a budget of bytes. A connection may hold no more than what is
 * still free: one connection alone gets half of the budget, two get a third each. So a connection that fills the queue
 * is shed before the others. Large payloads are kept by reference, small ones and headers are copied together. Frames
 * are collected for some milliseconds, because each write costs both processes a system call and wakes the recorder.
 */
export class FrameQueue {
  readonly #guard: Guard;
  readonly #budgetBytes: number;
  #pipe: Writable | null = null;
  #pieces: Buffer[] = [];
  /** Blocks of `BLOCK_BYTES` that contain the pieces. */
  #blocks: Buffer[] = [];
  /** Shares of the connections whose frames are collected. */
  #shares: QueueShare[] = [];
  /** Written blocks for reuse. New ones would make V8 collect its whole heap about ten times a second. */
  readonly #spare: Buffer[] = [];
  /**
   * The block that is copied into. `#begin`: the first byte that is no piece yet. `#end`: the place of the next byte.
   */
  #block = NO_BLOCK;
  #begin = 0;
  #end = 0;
  #collectedBytes = 0;
  /** The part of the budget that the collected pieces use. */
  #collectedCost = 0;
  #heldBytes = 0;
  #timer: NodeJS.Timeout | null = null;
  /** Whether the timer is the short one, for a full block. */
  #flushesFull = false;
  #immediate: NodeJS.Immediate | null = null;

  constructor(guard: Guard, budgetBytes: number = LIMITS.queueBytes) {
    this.#guard = guard;
    this.#budgetBytes = Math.max(BLOCK_BYTES, budgetBytes);
  }

  /** Memory in use: whole blocks, and kept chunks with their overhead. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** The share of the budget that is in use. Control frames may raise it above 1. */
  get fill(): number {
    return this.#heldBytes / this.#budgetBytes;
  }

  /** Whether a shed connection can be resumed without shedding it again at once. */
  hasRoomFor(share: QueueShare): boolean {
    const free = this.#budgetBytes - this.#heldBytes;
    return this.#pipe !== null && free >= this.#budgetBytes / 4 && share.heldBytes <= free / 2;
  }

  /** Sends to this pipe from now on; null drops what has not been written. */
  attach(pipe: Writable | null): void {
    this.#release(this.#take());
    this.#pipe = pipe;
  }

  /**
   * Takes a whole frame, or nothing. The payload must not be changed afterwards.
   * @returns false if the budget or the connection's share of it is used up, or if no recorder is connected
   */
  append(head: FrameHead, payload: Buffer, share: QueueShare): boolean {
    if (!this.#takes(payload, share)) return false;
    const kept = keptAs(payload);
    this.#add(head, payload, kept);
    this.#charge(share, kept === null ? payload.length : keptCostOf(kept));
    return true;
  }

  /**
   * Whether the recorder may be told of a new connection, with this as its first payload. Such a message is small, but it
   * is taken even if the budget is used up: without this check, many of them would fill the queue without bound.
   */
  takesFirst(payload: Buffer, share: QueueShare): boolean {
    return share.heldBytes <= this.#budgetBytes - this.#heldBytes && this.#takes(payload, share);
  }

  /** Whether `append` would take this payload now. */
  #takes(payload: Buffer, share: QueueShare): boolean {
    const kept = keptAs(payload);
    const cost = kept === null ? this.#costOf(payload.length) : this.#costOf(0) + keptCostOf(kept);
    const free = this.#budgetBytes - this.#heldBytes;
    // Bytes that fit into the current block cost nothing. But control frames may have begun it over the budget.
    return this.#pipe !== null && cost <= free && (cost === 0 || share.heldBytes <= free);
  }

  /**
   * Takes a small frame even over the budget, because frames that close accounts must always get through.
   * @param share whose it is; null if it is of no connection
   */
  appendControl(head: FrameHead, payload: Buffer, share: QueueShare | null = null): void {
    if (this.#pipe === null) return;
    this.#add(head, payload, null);
    if (share !== null) this.#charge(share, payload.length);
  }

  flush(): void {
    if (this.#timer) clearTimeout(this.#timer);
    if (this.#immediate) clearImmediate(this.#immediate);
    this.#timer = null;
    this.#immediate = null;
    const taken = this.#take();
    const { pieces } = taken;
    const last = pieces.pop();
    if (last === undefined) return;
    const written = this.#guard.wrap(() => this.#release(taken));
    if (this.#pipe === null) {
      written();
      return;
    }
    this.#pipe.cork();
    for (const piece of pieces) this.#pipe.write(piece);
    this.#pipe.write(last, written);
    this.#pipe.uncork();
  }

  /** Block memory that a frame adds. No frame spans two blocks. */
  #costOf(copiedBytes: number): number {
    const bytes = FRAME_HEADER_BYTES + copiedBytes;
    return bytes <= this.#block.length - this.#end ? 0 : Math.max(BLOCK_BYTES, bytes);
  }

  /** @param kept the payload if it is kept by reference; null if it is copied */
  #add(head: FrameHead, payload: Buffer, kept: Buffer | null): void {
    const blockBytes = this.#costOf(kept === null ? payload.length : 0);
    // All memory is allocated before anything is written, so that no partial frame is ever in the queue.
    if (blockBytes > 0) this.#beginBlock(blockBytes);
    writeFrameHeader(this.#block, this.#end, head, payload.length);
    this.#end += FRAME_HEADER_BYTES;
    if (kept === null) {
      this.#block.set(payload, this.#end);
      this.#end += payload.length;
    } else {
      this.#sealPiece();
      this.#pieces.push(kept);
      this.#reserve(keptCostOf(kept));
    }
    this.#collectedBytes += FRAME_HEADER_BYTES + payload.length;
    this.#flushSoon();
  }

  #beginBlock(bytes: number): void {
    const spare = bytes === BLOCK_BYTES ? this.#spare.pop() : undefined;
    const block = spare ?? Buffer.allocUnsafeSlow(bytes);
    this.#sealPiece();
    if (block.length === BLOCK_BYTES) this.#blocks.push(block);
    this.#block = block;
    this.#begin = 0;
    this.#end = 0;
    this.#reserve(block.length);
  }

  /** A frame with this much payload belongs to the share. */
  #charge(share: QueueShare, payloadBytes: number): void {
    const bytes = FRAME_HEADER_BYTES + payloadBytes;
    if (share.collectedBytes === 0) this.#shares.push(share);
    share.collectedBytes += bytes;
    share.heldBytes += bytes;
  }

  #reserve(bytes: number): void {
    this.#heldBytes += bytes;
    this.#collectedCost += bytes;
    const room = Math.max(0, Math.floor((this.#budgetBytes - this.#heldBytes) / BLOCK_BYTES));
    if (this.#spare.length > room) this.#spare.length = room;
  }

  /** Makes a piece of the bytes that were copied since the last one. */
  #sealPiece(): void {
    if (this.#end > this.#begin) this.#pieces.push(this.#block.subarray(this.#begin, this.#end));
    this.#begin = this.#end;
  }

  /**
   * Plans a flush. It is not immediate, because the read bytes are still being forwarded, and the next chunk may wait
   * in a socket. It also waits until the pipe has taken its earlier bytes. A block that is written almost empty wastes
   * budget. A recorder that stands still would waste one every few milliseconds.
   */
  #flushSoon(): void {
    if (this.#collectedBytes >= WRITTEN_AT_ONCE_BYTES && !this.#pipeIsBehind)
      this.#immediate ??= this.#guard.soon(() => this.flush());
    else this.#flushLater(this.#collectedBytes >= BLOCK_BYTES);
  }

  #flushLater(full: boolean): void {
    if (this.#timer !== null && (this.#flushesFull || !full)) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#flushesFull = full;
    const delayMs = full ? LIMITS.fullFlushDelayMs : LIMITS.flushDelayMs;
    this.#timer = this.#guard.after(delayMs, () => this.#flushOrWait());
  }

  #flushOrWait(): void {
    this.#timer = null;
    if (this.#pipeIsBehind) this.#flushSoon();
    else this.flush();
  }

  get #pipeIsBehind(): boolean {
    return this.#pipe !== null && this.#pipe.writableLength > 0;
  }

  #take(): Taken {
    this.#sealPiece();
    const shares = this.#shares.map((share) => [share, share.collectedBytes] as const);
    for (const share of this.#shares) share.collectedBytes = 0;
    const taken = { pieces: this.#pieces, blocks: this.#blocks, cost: this.#collectedCost, shares };
    this.#pieces = [];
    this.#shares = [];
    this.#blocks = [];
    this.#block = NO_BLOCK;
    this.#begin = 0;
    this.#end = 0;
    this.#collectedBytes = 0;
    this.#collectedCost = 0;
    return taken;
  }

  #release({ blocks, cost, shares }: Taken): void {
    this.#heldBytes -= cost;
    for (const [share, bytes] of shares) share.heldBytes -= bytes;
    this.#spare.push(...blocks);
    // A burst leaves many spare blocks. They are freed one at a time.
    if (this.#heldBytes === 0) this.#spare.pop();
    if (this.#pieces.length > 0) this.#flushSoon();
  }
}

/** The payload if it is kept by reference; null if it is copied. */
function keptAs(payload: Buffer): Buffer | null {
  return payload.length >= REFERENCED_BYTES && ownsMemory(payload) ? payload : null;
}

function keptCostOf(chunk: Buffer): number {
  return chunk.buffer.byteLength + REFERENCE_COST_BYTES;
}

/** Whether a chunk keeps not much more than itself in memory. It may be a slice of something larger. */
function ownsMemory(chunk: Buffer): boolean {
  return chunk.buffer.byteLength < 2 * chunk.length;
}
