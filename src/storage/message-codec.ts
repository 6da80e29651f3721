import { Packr } from 'msgpackr/pack';
import type { ChunkTimes, Exchange, Message } from '../core/exchange.ts';
import { damaged } from './database.ts';

/** What a slot holds of one side of an exchange besides its body. */
export interface HeadParts {
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
export const SLOT_OVERHEAD_BYTES = 5;
/** What msgpackr wants to be free when it begins. */
const PACKING_ROOM_BYTES = 4_096;
const FIRST_ROOM_BYTES = 8_192;

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

/** Slots of a block as one MessagePack array of byte strings. */
export function encodeSlots(slots: readonly Uint8Array[]): Buffer {
  const bytes = slots.reduce((sum, slot) => sum + slot.byteLength + SLOT_OVERHEAD_BYTES, PACKING_ROOM_BYTES);
  // Room for all of it at once: msgpackr would make four times as much, and keep it.
  packr.useBuffer(Buffer.allocUnsafeSlow(bytes));
  try {
    return packr.pack(slots);
  } finally {
    packr.useBuffer(Buffer.allocUnsafeSlow(FIRST_ROOM_BYTES));
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
