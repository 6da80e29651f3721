import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { LIMITS } from '../core/limits.ts';
import type { BlockCipher } from './block-cipher.ts';
import { damaged } from './database.ts';
import { decodeSlots, encodeSlots } from './message-codec.ts';

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
  const payload = cipher === null ? (packed ?? raw) : cipher.encrypt(packed ?? raw, place);
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
