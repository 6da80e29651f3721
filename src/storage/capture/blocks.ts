import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { Packr } from 'msgpackr/pack';
import type { ChunkTimes, Exchange, Message } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { BlockCipher } from './encryption.ts';
import { type Connection, damaged } from './sqlite.ts';

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

  constructor(connection: Connection, cipher: BlockCipher | null) {
    this.#cipher = cipher;
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
    const row = encodeBlock(first, slots, this.#cipher);
    this.#insert.run(row.firstSlot, row.slots, row.rawBytes, row.codec, row.crc32, row.payload);
  }
}

function rawBytesOf(slots: readonly Uint8Array[]): number {
  return slots.reduce((sum, slot) => sum + slot.byteLength + SLOT_OVERHEAD_BYTES, 0);
}

/** How a block's payload is coded. */
const CODEC_STORED = 0;
const CODEC_ZSTD = 1;
/** Added to either for a payload that was encrypted after that. */
const CODEC_ENCRYPTED = 2;

const ZSTD_LEVEL = 1;
/** Of a quiet hour's segment, packed once more when it is sealed: there is little of it, and it stays for weeks. */
const ZSTD_SEALED_LEVEL = 9;
/** What zstd's worst case takes beyond its input and a 256th of it, with something to spare. */
const ZSTD_MARGIN_BYTES = 1_024;
/** No more room than this is made at once, for a body of many MiB that has a row to itself. */
const ZSTD_ROOM_BYTES = 4 * 1024 * 1024;
/** Compression that saves less than this share is not worth undoing at every read. */
const LEAST_SAVING = 0.05;
/** Of a body in a row of its own so much is compressed on trial before all of it is. */
const TRIAL_BYTES = 16 * 1024;
/** The largest block a reader unpacks: a body at the highest cap that is sensible, and what wraps it. */
const RAW_BYTES_MAX = 1024 * 1024 * 1024;

/** One row of the `block` table. */
export interface BlockRow {
  readonly firstSlot: number;
  readonly slots: number;
  readonly rawBytes: number;
  readonly codec: number;
  /** CRC-32 of the payload as stored: SQLite checks frames of its log, not pages of the database. */
  readonly crc32: number;
  readonly payload: Uint8Array;
}

/**
 * Packs slots into a row; encrypted, where there is a cipher, after they were compressed.
 * @param compress null for what is stored as it is; what it throws costs room and no exchange
 */
export function encodeBlock(
  firstSlot: number,
  slots: readonly Uint8Array[],
  cipher: BlockCipher | null,
  compress: (raw: Buffer) => Buffer | null = compressIfItPays,
): BlockRow {
  const raw = encodeSlots(slots);
  const packed = orNull(() => compress(raw));
  const place = {
    firstSlot,
    slots: slots.length,
    rawBytes: raw.byteLength,
    codec: (packed === null ? CODEC_STORED : CODEC_ZSTD) + (cipher === null ? 0 : CODEC_ENCRYPTED),
  };
  const payload = cipher === null ? (packed ?? Buffer.from(raw)) : cipher.encrypt(packed ?? raw, place);
  return { ...place, crc32: crc32(payload), payload };
}

/**
 * Unpacks a row into its slots.
 * @throws AppError CAPTURE_DAMAGED naming `file` when a bit of it has changed.
 */
export function decodeBlock(row: BlockRow, file: string, cipher: BlockCipher | null): Uint8Array[] {
  assertChecksum(row, file);
  return decodeSlots(decompress(decrypted(row, file, cipher), file), row.slots, file);
}

/** @throws AppError CAPTURE_DAMAGED naming `file` when the payload is not the one that was stored. */
export function assertChecksum(row: BlockRow, file: string): void {
  if (crc32(row.payload) !== row.crc32) throw damaged(file, `block ${row.firstSlot} fails its checksum`);
}

/**
 * A row packed harder; null when that saves nothing worth it, or for one that is encrypted: who seals has no key.
 * @throws AppError CAPTURE_DAMAGED naming `file` when the row cannot be unpacked.
 */
export function repackBlock(row: BlockRow, file: string): Pick<BlockRow, 'payload' | 'crc32'> | null {
  if (row.codec !== CODEC_ZSTD) return null;
  assertChecksum(row, file);
  const payload = zstd(decompress(row, file), ZSTD_SEALED_LEVEL);
  return pays(payload, row.payload) ? { payload, crc32: crc32(payload) } : null;
}

function orNull<T>(work: () => T): T | null {
  try {
    return work();
  } catch {
    return null;
  }
}

function compressIfItPays(raw: Buffer): Buffer | null {
  if (raw.byteLength > LIMITS.ownBlockBytes * 4) {
    const trial = raw.subarray(raw.byteLength >> 1, (raw.byteLength >> 1) + TRIAL_BYTES);
    if (!pays(zstd(trial), trial)) return null;
  }
  const packed = zstd(raw);
  return pays(packed, raw) ? packed : null;
}

function pays(packed: Uint8Array, raw: Uint8Array): boolean {
  return packed.byteLength <= raw.byteLength * (1 - LEAST_SAVING);
}

/**
 * In one call of the compressor: with room for the worst case it reads its input where it lies, and with less it
 * would copy it into a window of its own and come back for each 16 KiB of output.
 */
function zstd(bytes: Uint8Array, level = ZSTD_LEVEL): Buffer {
  const roomBytes = bytes.byteLength + (bytes.byteLength >> 8) + ZSTD_MARGIN_BYTES;
  return zstdCompressSync(bytes, {
    chunkSize: Math.min(roomBytes, ZSTD_ROOM_BYTES),
    params: { [constants.ZSTD_c_compressionLevel]: level },
  });
}

/** A segment is encrypted whole or not at all: a plain block among encrypted ones is not ours. */
function decrypted(row: BlockRow, file: string, cipher: BlockCipher | null): BlockRow {
  const codec = row.codec - CODEC_ENCRYPTED;
  const isEncrypted = codec === CODEC_STORED || codec === CODEC_ZSTD;
  if (isEncrypted !== (cipher !== null)) {
    throw damaged(
      file,
      `block ${row.firstSlot} is ${isEncrypted ? '' : 'not '}encrypted, unlike its segment`,
    );
  }
  return cipher === null ? row : { ...row, codec, payload: cipher.decrypt(row.payload, row, file) };
}

function decompress(row: BlockRow, file: string): Uint8Array {
  if (row.codec === CODEC_STORED) return row.payload;
  if (row.codec !== CODEC_ZSTD || row.rawBytes <= 0 || row.rawBytes > RAW_BYTES_MAX) {
    throw damaged(file, `block ${row.firstSlot} is coded in a way this version does not know`);
  }
  let raw: Buffer;
  try {
    raw = zstdDecompressSync(row.payload, { maxOutputLength: row.rawBytes });
  } catch (error) {
    throw damaged(file, `block ${row.firstSlot} does not decompress`, error);
  }
  if (raw.byteLength !== row.rawBytes) throw damaged(file, `block ${row.firstSlot} is shorter than it was`);
  return raw;
}

/** What a slot holds of one side of an exchange besides its body. */
interface HeadParts {
  readonly head: Uint8Array;
  readonly redacted: readonly string[];
  readonly trailers: Uint8Array | null;
}

/** What the slot of an exchange's heads holds. */
export interface StoredHeads {
  readonly request: HeadParts | null;
  readonly response: HeadParts | null;
  readonly requestChunks: ChunkTimes;
  readonly responseChunks: ChunkTimes;
}

/** Plain MessagePack, without msgpackr's own extensions: any language can read it. */
const packr = new Packr({ useRecords: false });

/** MessagePack's own bytes around a slot, at most. */
const SLOT_OVERHEAD_BYTES = 5;
/** What msgpackr wants to be free when it begins. */
const PACKING_ROOM_BYTES = 4_096;
/** A full block with its last slot fits; what has a row to itself may not, and gets a buffer of its own. */
const blockRoom = Buffer.allocUnsafeSlow(2 * LIMITS.blockBytes);
const headsRoom = Buffer.allocUnsafeSlow(16 * 1024);

/**
 * Heads of an exchange as the bytes of a slot; null when there is nothing to keep. For each side the head, what was
 * masked in it and its trailers, then the chunk times of both.
 */
export function encodeHeads(exchange: Exchange): Uint8Array | null {
  const { request, response, requestChunks, responseChunks } = exchange;
  if (request === null && response === null && requestChunks.length + responseChunks.length === 0)
    return null;
  const packed = packr.pack([partsOf(request), partsOf(response), requestChunks, responseChunks]);
  // A copy: what msgpackr gives is a view over a buffer that may be much larger, and a slot can wait for long.
  return Buffer.from(packed);
}

/** The inverse of `encodeHeads`. Heads are views over the slot. @throws AppError CAPTURE_DAMAGED naming `file` */
export function decodeHeads(slot: Uint8Array, file: string): StoredHeads {
  const [request, response, requestChunks, responseChunks] = unpackedArray(slot, 4, file, HEADS);
  return {
    request: partsFrom(request, file),
    response: partsFrom(response, file),
    requestChunks: timesFrom(requestChunks, file),
    responseChunks: timesFrom(responseChunks, file),
  };
}

/**
 * Slots of a block as one MessagePack array of byte strings: a view, good until the next block is packed. All blocks
 * are packed in one buffer, because one of its own for each would wait for a collection outside the heap.
 */
export function encodeSlots(slots: readonly Uint8Array[]): Buffer {
  const bytes = slots.reduce((sum, slot) => sum + slot.byteLength + SLOT_OVERHEAD_BYTES, PACKING_ROOM_BYTES);
  // Room for all of it beforehand: msgpackr would make four times as much, and keep it.
  packr.useBuffer(bytes > blockRoom.byteLength ? Buffer.allocUnsafeSlow(bytes) : blockRoom);
  try {
    return packr.pack(slots);
  } finally {
    packr.useBuffer(headsRoom);
  }
}

/**
 * The inverse of `encodeSlots`. Slots are views over the block.
 * @throws AppError CAPTURE_DAMAGED naming `file` where the bytes are not exactly `count` slots.
 */
export function decodeSlots(raw: Uint8Array, count: number, file: string): Uint8Array[] {
  const slots = unpackedArray(raw, count, file, 'a block does not hold the slots its row promises');
  if (!slots.every((slot) => slot instanceof Uint8Array))
    throw damaged(file, 'a block holds more than slots');
  return slots;
}

const HEADS = 'the heads of an exchange are not what they should be';

function partsOf(message: Message | null): unknown {
  return message === null ? null : [message.head, message.redacted, message.trailers];
}

function partsFrom(value: unknown, file: string): HeadParts | null {
  if (value === null) return null;
  const [head, redacted, trailers] = Array.isArray(value) && value.length === 3 ? (value as unknown[]) : [];
  const isText = (name: unknown): name is string => typeof name === 'string';
  if (!(head instanceof Uint8Array) || !Array.isArray(redacted) || !redacted.every(isText))
    throw damaged(file, HEADS);
  if (trailers !== null && !(trailers instanceof Uint8Array)) throw damaged(file, HEADS);
  return { head, redacted, trailers };
}

function timesFrom(value: unknown, file: string): ChunkTimes {
  const isNumber = (time: unknown): time is number => typeof time === 'number';
  if (!Array.isArray(value) || !value.every(isNumber)) throw damaged(file, HEADS);
  return value;
}

/** @throws AppError CAPTURE_DAMAGED naming `file` and saying `what` for anything but an array of `length` */
function unpackedArray(bytes: Uint8Array, length: number, file: string, what: string): unknown[] {
  let value: unknown;
  try {
    value = packr.unpack(bytes);
  } catch (error) {
    throw damaged(file, what, error);
  }
  if (!Array.isArray(value) || value.length !== length) throw damaged(file, what);
  return value;
}
