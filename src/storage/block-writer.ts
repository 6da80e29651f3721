import { LIMITS } from '../core/limits.ts';
import { encodeBlock } from './block.ts';
import type { BlockCipher } from './block-cipher.ts';
import type { Connection } from './database.ts';
import { SLOT_OVERHEAD_BYTES } from './message-codec.ts';

/**
 * Gives slots to what is to be stored and writes them in blocks.
 *
 * Slots count up from 0. A block that is not full when a commit comes is written as a *tail*: a small row with
 * only the new slots. When the block is full, one transaction takes its tails away and puts the whole block in
 * their place, at the first tail's slot; so a slot is always found in the row with the greatest `first_slot`
 * not above it, and no exchange row ever changes. A body too large for a block has a row to itself; those
 * count down from -1, so that they do not cut the blocks between them short.
 */
export class BlockWriter {
  readonly #cipher: BlockCipher | null;
  readonly #breathe: () => void;
  readonly #insert;
  readonly #deleteTails;
  /** Slots of the block being filled and of what follows it in this batch. */
  #slots: Uint8Array[] = [];
  #rawBytes = 0;
  #firstSlot = 0;
  /** So many of `#slots` are committed already, as tails. */
  #committedSlots = 0;
  #large: { slot: number; bytes: Uint8Array }[] = [];
  #nextLargeSlot = -1;
  /** What a successful flush leaves to be filled, until the commit it belongs to has returned. */
  #flushed: { taken: number; firstSlot: number } | null = null;

  /** @param breathe called before and after a block is packed, compressed and written */
  constructor(connection: Connection, cipher: BlockCipher | null, breathe: () => void) {
    this.#cipher = cipher;
    this.#breathe = breathe;
    this.#insert = connection.prepare<[number, number, number, number, number, Uint8Array]>(
      'INSERT INTO block (first_slot, slots, raw_bytes, codec, crc32, payload) VALUES (?, ?, ?, ?, ?, ?)',
    );
    this.#deleteTails = connection.prepare<[number, number]>(
      'DELETE FROM block WHERE first_slot >= ? AND first_slot < ?',
    );
  }

  /** Bytes of the block being filled, uncompressed: what its rewriting will write once more. */
  get openBytes(): number {
    return this.#rawBytes;
  }

  /** Takes bytes to be written by the next flush and says in which slot they will lie. */
  put(bytes: Uint8Array): number {
    if (bytes.byteLength > LIMITS.ownBlockBytes) {
      const slot = this.#nextLargeSlot--;
      this.#large.push({ slot, bytes });
      return slot;
    }
    this.#rawBytes += bytes.byteLength + SLOT_OVERHEAD_BYTES;
    return this.#firstSlot + this.#slots.push(bytes) - 1;
  }

  /** Writes what was put since the last flush. `last` leaves no tails: the segment ends. In a transaction. */
  flush(last: boolean): void {
    for (const { slot, bytes } of this.#large) this.#write(slot, [bytes]);
    let start = 0;
    for (let end = this.#fullBlockEnd(start); end > start; end = this.#fullBlockEnd(start)) {
      this.#writeBlock(start, end);
      start = end;
    }
    if (last && this.#slots.length > start) {
      this.#writeBlock(start, this.#slots.length);
      start = this.#slots.length;
    }
    const tail = Math.max(start, this.#committedSlots);
    if (this.#slots.length > tail) {
      this.#write(this.#firstSlot + tail, this.#slots.slice(tail));
    }
    this.#flushed = { taken: start, firstSlot: this.#firstSlot + start };
  }

  /** The transaction of the last flush is durable. */
  committed(): void {
    if (this.#flushed === null) return;
    const { taken, firstSlot } = this.#flushed;
    this.#slots = taken === 0 ? this.#slots : this.#slots.slice(taken);
    this.#firstSlot = firstSlot;
    this.#committedSlots = this.#slots.length;
    this.#large = [];
    this.#flushed = null;
    if (taken > 0) this.#rawBytes = rawBytesOf(this.#slots);
  }

  /** The transaction failed: everything put since the last commit is forgotten, and its slots given anew. */
  rolledBack(): void {
    this.#slots.length = this.#committedSlots;
    this.#rawBytes = rawBytesOf(this.#slots);
    this.#nextLargeSlot += this.#large.length;
    this.#large = [];
    this.#flushed = null;
  }

  /** End of the full block that begins at `start` of `#slots`; `start` itself when it is not full yet. */
  #fullBlockEnd(start: number): number {
    let bytes = 0;
    for (let end = start; end < this.#slots.length; end += 1) {
      bytes += (this.#slots[end]?.byteLength ?? 0) + SLOT_OVERHEAD_BYTES;
      if (end - start + 1 >= LIMITS.blockSlots || bytes >= LIMITS.blockBytes) return end + 1;
    }
    return start;
  }

  #writeBlock(start: number, end: number): void {
    const firstSlot = this.#firstSlot + start;
    if (start < this.#committedSlots) this.#deleteTails.run(firstSlot, firstSlot + end - start);
    this.#write(firstSlot, this.#slots.slice(start, end));
  }

  #write(first: number, slots: readonly Uint8Array[]): void {
    this.#breathe();
    const row = encodeBlock(first, slots, this.#cipher);
    this.#breathe();
    this.#insert.run(row.firstSlot, row.slots, row.rawBytes, row.codec, row.crc32, row.payload);
  }
}

function rawBytesOf(slots: readonly Uint8Array[]): number {
  return slots.reduce((sum, slot) => sum + slot.byteLength + SLOT_OVERHEAD_BYTES, 0);
}
