import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { Packr } from 'msgpackr/pack';
import type { ChunkTimes, Exchange, Link, Linked, Message } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { BlockCipher } from './encryption.ts';
import { type Connection, damaged, insertInto, selected } from './sqlite.ts';

/**
 * Assigns slots to stored items and writes them in blocks.
 *
 * Slots count up from 0. If a block is not full at a commit, its new slots are written as a small row, a
 * *tail*. When the block is full, one transaction deletes its tails and writes the whole block at the first
 * tail's slot. So a slot is always in the row with the greatest `first_slot` not above it, and exchange rows
 * never change. A body too large for a block gets its own row. Those rows count down from -1, so they do not
 * cut the blocks between them short.
 */
export class BlockWriter {
  readonly #cipher: BlockCipher | null;
  readonly #insert;
  readonly #deleteTails;
  /** Slots of the open block and of later blocks in this batch. */
  #slots: Uint8Array[] = [];
  #rawBytes = 0;
  #firstSlot: number;
  /** How many of `#slots` are already committed as tails. */
  #committedSlots = 0;
  #large: { slot: number; bytes: Uint8Array }[] = [];
  #nextLargeSlot: number;
  /** What a successful flush changes, pending until its commit has returned. */
  #flushed: { taken: number; firstSlot: number } | null = null;

  constructor(connection: Connection, cipher: BlockCipher | null) {
    this.#cipher = cipher;
    this.#insert = insertInto<[number, number, number, number, number, Uint8Array]>(connection, 'block');
    this.#deleteTails = connection.prepare<[number, number]>(
      'DELETE FROM block WHERE first_slot >= ? AND first_slot < ?',
    );
    // A segment that is continued keeps the tails of its last block.
    const [least, next] = connection
      .prepare<[], [number, number]>(
        'SELECT coalesce(min(first_slot), 0), coalesce(max(first_slot + slots), 0) FROM block',
      )
      .raw()
      .get() as [number, number];
    this.#firstSlot = Math.max(0, next);
    this.#nextLargeSlot = Math.min(0, least) - 1;
  }

  /** Uncompressed bytes of the open block, which are written once more when it is full. */
  get openBytes(): number {
    return this.#rawBytes;
  }

  /** Queues bytes for the next flush. Returns their slot. */
  put(bytes: Uint8Array): number {
    if (bytes.byteLength > LIMITS.ownBlockBytes) {
      const slot = this.#nextLargeSlot--;
      this.#large.push({ slot, bytes });
      return slot;
    }
    this.#rawBytes += bytes.byteLength + SLOT_OVERHEAD_BYTES;
    return this.#firstSlot + this.#slots.push(bytes) - 1;
  }

  /**
   * Writes what was put since the last flush, inside a transaction. With `last` it leaves no tails: the
   * segment ends.
   */
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

  /** Call when the transaction of the last flush is durable. */
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

  /** Call when the transaction failed. Drops everything put since the last commit and reuses its slots. */
  rolledBack(): void {
    this.#slots.length = this.#committedSlots;
    this.#rawBytes = rawBytesOf(this.#slots);
    this.#nextLargeSlot += this.#large.length;
    this.#large = [];
    this.#flushed = null;
  }

  /** End of the full block that starts at `start` of `#slots`; `start` itself if the block is not full. */
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
/** Added to the codec if the payload was encrypted after compression. */
const CODEC_ENCRYPTED = 2;

const ZSTD_LEVEL = 1;
/** For segments of a quiet hour, recompressed at sealing: they are small and are kept for weeks. */
const ZSTD_SEALED_LEVEL = 9;
/** Extra room for zstd's worst case, beyond the input and 1/256 of it, with a margin. */
const ZSTD_MARGIN_BYTES = 1_024;
/** Upper bound of the buffer allocated at once for a body of many MiB in its own row. */
const ZSTD_ROOM_BYTES = 4 * 1024 * 1024;
/** Compression that saves less than this share does not pay for decompression at every read. */
const LEAST_SAVING = 0.05;
/** A body in its own row is first compressed this far on trial. */
const TRIAL_BYTES = 16 * 1024;
/** The largest block a reader unpacks: a body at the highest sensible cap, plus overhead. */
const RAW_BYTES_MAX = 1024 * 1024 * 1024;

export interface BlockRow {
  readonly firstSlot: number;
  readonly slots: number;
  readonly rawBytes: number;
  readonly codec: number;
  /** CRC-32 of the stored payload. SQLite checks frames of its log but not pages of the database. */
  readonly crc32: number;
  readonly payload: Uint8Array;
}

export const SELECT_BLOCKS = `SELECT ${selected('first_slot, slots, raw_bytes, codec, crc32, payload')}`;

/** The blocks of a table in the order of their slots. Read one by one, because the caller writes meanwhile. */
export function* blocksIn(connection: Connection, table: 'block' | 'old.block'): Generator<BlockRow> {
  const next = connection.prepare<[number], BlockRow>(
    `${SELECT_BLOCKS} FROM ${table} WHERE first_slot > ? ORDER BY first_slot LIMIT 1`,
  );
  let row = next.get(Number.MIN_SAFE_INTEGER);
  while (row !== undefined) {
    yield row;
    row = next.get(row.firstSlot);
  }
}

/**
 * Packs slots into a row: compresses, then encrypts if there is a cipher.
 * @param compress null to store without compression. If it throws, the slots are stored uncompressed.
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
 * @throws AppError CAPTURE_DAMAGED naming `file` when any bit has changed
 */
export function decodeBlock(row: BlockRow, file: string, cipher: BlockCipher | null): Uint8Array[] {
  assertChecksum(row, file);
  return decodeSlots(decompress(decrypted(row, file, cipher), file), row.slots, file);
}

/** @throws AppError CAPTURE_DAMAGED naming `file` when the payload fails its checksum */
export function assertChecksum(row: BlockRow, file: string): void {
  if (crc32(row.payload) !== row.crc32) throw damaged(file, `block ${row.firstSlot} fails its checksum`);
}

/**
 * Recompresses a row at a higher level. Returns null when that saves too little, or when the row is
 * encrypted, because sealing has no key.
 * @throws AppError CAPTURE_DAMAGED naming `file` when the row cannot be unpacked
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
 * Compresses in one call. With room for the worst case, zstd reads its input in place. With less room it
 * copies the input into its own window and returns for each 16 KiB of output.
 */
function zstd(bytes: Uint8Array, level = ZSTD_LEVEL): Buffer {
  const roomBytes = bytes.byteLength + (bytes.byteLength >> 8) + ZSTD_MARGIN_BYTES;
  return zstdCompressSync(bytes, {
    chunkSize: Math.min(roomBytes, ZSTD_ROOM_BYTES),
    params: { [constants.ZSTD_c_compressionLevel]: level },
  });
}

/**
 * A segment is encrypted completely or not at all. A plain block among encrypted ones was not written by
 * Reprise.
 */
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
  if (raw.byteLength !== row.rawBytes)
    throw damaged(file, `block ${row.firstSlot} is not of its recorded length`);
  return raw;
}

interface HeadParts {
  readonly head: Uint8Array;
  readonly redacted: readonly string[];
  readonly trailers: Uint8Array | null;
}

export interface StoredHeads {
  readonly request: HeadParts | null;
  readonly response: HeadParts | null;
  readonly requestChunks: ChunkTimes;
  readonly responseChunks: ChunkTimes;
  readonly linked: Linked | null;
}

/** Plain MessagePack without msgpackr's extensions, so any language can read it. */
const packr = new Packr({ useRecords: false });

/** First byte of an array of up to 15 elements, with their number in its lower bits. */
const PACKED_ARRAY = 0x90;
/** Upper bound of MessagePack's own bytes around a slot. */
const SLOT_OVERHEAD_BYTES = 5;
/** Free space that msgpackr needs before it starts packing. */
const PACKING_ROOM_BYTES = 4_096;
/** Fits a full block with its last slot. A larger single item gets its own buffer. */
const blockRoom = Buffer.allocUnsafeSlow(2 * LIMITS.blockBytes);
const headsRoom = Buffer.allocUnsafeSlow(16 * 1024);

/**
 * Encodes an exchange's heads as a slot; null when there is nothing to keep. Each side has its head, its
 * masks and its trailers; the chunk times of both follow, and then what is linked of an exchange of a session.
 */
export function encodeHeads(exchange: Exchange): Uint8Array | null {
  const { request, response, requestChunks, responseChunks, linked = null } = exchange;
  const times = linked === null ? [requestChunks, responseChunks] : [requestChunks, responseChunks, linked];
  const hasTimes = requestChunks.length + responseChunks.length > 0;
  if (request === null && response === null && !hasTimes && linked === null) return null;
  packr.useBuffer(headsRoom);
  if (!request?.known || !response?.known) {
    // Copy: msgpackr returns a view over a buffer that may be much larger, and a slot may wait for long.
    return Buffer.from(packr.pack([partsOf(request), partsOf(response), ...times]));
  }
  request.known.packed ??= Buffer.from(packr.pack(partsOf(request)));
  response.known.packed ??= Buffer.from(packr.pack(partsOf(response)));
  // The same bytes as above: MessagePack writes the length of an array and then each element.
  const [first, second] = [request.known.packed, response.known.packed];
  const rest = packr.pack(times);
  const slot = Buffer.allocUnsafe(first.length + second.length + rest.length);
  slot[0] = PACKED_ARRAY | (2 + times.length);
  slot.set(first, 1);
  slot.set(second, 1 + first.length);
  slot.set(rest.subarray(1), 1 + first.length + second.length);
  return slot;
}

/**
 * The inverse of `encodeHeads`. Heads are views over the slot. @throws AppError CAPTURE_DAMAGED naming `file`
 */
export function decodeHeads(slot: Uint8Array, file: string): StoredHeads {
  const [request, response, requestChunks, responseChunks, linked = null] = unpackedArray(
    slot,
    [4, 5],
    file,
    HEADS,
  );
  return {
    request: partsFrom(request, file),
    response: partsFrom(response, file),
    requestChunks: timesFrom(requestChunks, file),
    responseChunks: timesFrom(responseChunks, file),
    linked: linkedFrom(linked, file),
  };
}

/**
 * Packs the slots of a block as one MessagePack array of byte strings. Returns a view that is valid until the
 * next call. All blocks share one buffer: separate buffers would lie outside the heap until a garbage
 * collection.
 */
export function encodeSlots(slots: readonly Uint8Array[]): Buffer {
  const bytes = slots.reduce((sum, slot) => sum + slot.byteLength + SLOT_OVERHEAD_BYTES, PACKING_ROOM_BYTES);
  // Allocate all of it first: msgpackr would allocate four times as much and keep it.
  packr.useBuffer(bytes > blockRoom.byteLength ? Buffer.allocUnsafeSlow(bytes) : blockRoom);
  try {
    return packr.pack(slots);
  } finally {
    packr.useBuffer(headsRoom);
  }
}

/**
 * The inverse of `encodeSlots`. Slots are views over the block.
 * @throws AppError CAPTURE_DAMAGED naming `file` when the bytes are not exactly `count` slots
 */
export function decodeSlots(raw: Uint8Array, count: number, file: string): Uint8Array[] {
  const slots = unpackedArray(raw, [count], file, 'a block does not hold the slots that its row declares');
  if (!slots.every((slot) => slot instanceof Uint8Array))
    throw damaged(file, 'a block holds extra bytes after its slots');
  return slots;
}

const HEADS = 'the heads of an exchange are malformed';

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

function linkedFrom(value: unknown, file: string): Linked | null {
  if (value === null) return null;
  const { number, links } = value as Partial<Linked>;
  if (typeof number !== 'number' || !Array.isArray(links) || !links.every(isLink)) throw damaged(file, HEADS);
  return { number, links };
}

function isLink(value: unknown): value is Link {
  const { from, place, to } = (value ?? {}) as Partial<Link>;
  return typeof from === 'number' && typeof place?.in === 'string' && typeof to?.in === 'string';
}

/**
 * @param lengths which lengths it may have
 * @throws AppError CAPTURE_DAMAGED naming `file`, with message `what`, for anything but such an array
 */
function unpackedArray(bytes: Uint8Array, lengths: readonly number[], file: string, what: string): unknown[] {
  let value: unknown;
  try {
    value = packr.unpack(bytes);
  } catch (error) {
    throw damaged(file, what, error);
  }
  if (!Array.isArray(value) || !lengths.includes(value.length)) throw damaged(file, what);
  return value;
}
