/** Below this, what V8 frees by itself is no burden: it is the size of what is read, not its number, that calls a collection. */
const LEAST_BYTES = 16 * 1024;

/**
 * Frees what some bytes lie in, now and not at the next collection: memory outside of V8's heap calls for collections
 * of all of it by its size, and what is freed at once is still in the processor's cache when it is handed out again.
 * Nothing is done where the bytes are few, or share their memory with others.
 *
 * The bytes, and all views of them, are empty afterwards: only for what nobody reads any more, a write that has
 * begun included.
 */
export function giveBack(bytes: Uint8Array): void {
  const { buffer, byteLength } = bytes;
  if (byteLength < LEAST_BYTES || byteLength !== buffer.byteLength || !(buffer instanceof ArrayBuffer))
    return;
  buffer.transfer(0);
}
