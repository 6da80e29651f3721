import type { Exchange, Message } from '../core/exchange.ts';
import { PackBuffer } from './pack-buffer.ts';

const packing = new PackBuffer();

/**
 * Heads of an exchange as the bytes of a slot; null when there is nothing to keep. For each side the head, what was
 * masked in it and its trailers, then the chunk times of both: a plain MessagePack array, so that any language can
 * read it. `StoredHeads` does.
 */
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

/**
 * Slots of a block as one MessagePack array of byte strings: a view, good until anything else is encoded.
 * `BlockSlots` reads it.
 */
export function encodeSlots(slots: readonly Uint8Array[]): Buffer {
  packing.clear();
  packing.array(slots.length);
  for (const slot of slots) packing.binary(slot);
  return packing.view();
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
