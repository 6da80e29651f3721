import { Unpackr } from 'msgpackr';
import type { ChunkTimes, Exchange, Message } from '../core/exchange.ts';
import { damaged } from './database.ts';
import { PackBuffer } from './pack-buffer.ts';

/**
 * What one slot holds of an exchange besides its bodies: for each side the head, what was masked in it and its
 * trailers, then the chunk times of both. A plain MessagePack array, so that any language can read it.
 */
export interface Heads {
  readonly request: HeadParts | null;
  readonly response: HeadParts | null;
  readonly requestChunks: ChunkTimes;
  readonly responseChunks: ChunkTimes;
}

export interface HeadParts {
  readonly head: Uint8Array;
  readonly redacted: readonly string[];
  readonly trailers: Uint8Array | null;
}

const packing = new PackBuffer();
// No record extension and no JavaScript types: what a capture holds is plain MessagePack and decodes to data only.
const unpackr = new Unpackr({ useRecords: false, moreTypes: false });

/** Heads of an exchange as the bytes of a slot; null when there is nothing to keep. */
export function encodeHeads(exchange: Exchange): Uint8Array | null {
  const { request, response, requestChunks, responseChunks } = exchange;
  if (request === null && response === null && requestChunks.length + responseChunks.length === 0)
    return null;
  packing.clear();
  packing.array(4);
  packParts(request);
  packParts(response);
  packing.numbers(requestChunks);
  packing.numbers(responseChunks);
  return packing.copy();
}

/** The inverse of `encodeHeads`. @throws AppError CAPTURE_DAMAGED naming `file`. */
export function decodeHeads(slot: Uint8Array, file: string): Heads {
  const value = unpack(slot, file);
  if (!Array.isArray(value) || value.length !== 4 || !isTimes(value[2]) || !isTimes(value[3])) {
    throw damaged(file, 'the heads of an exchange are not what they should be');
  }
  return {
    request: partsFrom(value[0], file),
    response: partsFrom(value[1], file),
    requestChunks: value[2],
    responseChunks: value[3],
  };
}

/** Slots of a block as one MessagePack array of byte strings: a view, good until anything else is encoded. */
export function encodeSlots(slots: readonly Uint8Array[]): Buffer {
  packing.clear();
  packing.array(slots.length);
  for (const slot of slots) packing.binary(slot);
  return packing.view();
}

/** The inverse of `encodeSlots`; the slots are views over `raw`. @throws AppError CAPTURE_DAMAGED naming `file`. */
export function decodeSlots(raw: Uint8Array, count: number, file: string): Uint8Array[] {
  const value = unpack(raw, file);
  if (!Array.isArray(value) || value.length !== count || !value.every((slot) => slot instanceof Uint8Array)) {
    throw damaged(file, 'a block does not hold the slots its row promises');
  }
  return value;
}

function packParts(message: Message | null): void {
  if (message === null) {
    packing.nil();
    return;
  }
  packing.array(3);
  packing.binary(message.head);
  packing.array(message.redacted.length);
  for (const name of message.redacted) packing.text(name);
  if (message.trailers === null) packing.nil();
  else packing.binary(message.trailers);
}

function partsFrom(value: unknown, file: string): HeadParts | null {
  if (value === null) return null;
  if (Array.isArray(value) && value.length === 3) {
    const [head, redacted, trailers] = value as unknown[];
    if (
      head instanceof Uint8Array &&
      Array.isArray(redacted) &&
      redacted.every((name) => typeof name === 'string') &&
      (trailers === null || trailers instanceof Uint8Array)
    ) {
      return { head, redacted, trailers };
    }
  }
  throw damaged(file, 'the head of a message is not what it should be');
}

function isTimes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((time) => typeof time === 'number');
}

function unpack(bytes: Uint8Array, file: string): unknown {
  try {
    return unpackr.unpack(bytes);
  } catch (error) {
    throw damaged(file, 'a payload is not MessagePack', error);
  }
}
