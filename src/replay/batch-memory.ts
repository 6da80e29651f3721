/** Smallest buffer that is made; others are the next power of two, so that one is used for many sizes of batch. */
const LEAST_BYTES = 4 * 1024;
/** Larger ones are made for single requests and used once. */
const MOST_BYTES = 4 * 1024 * 1024;
/** Most that waits to be used again: what is given back is soon taken, so little waits. */
const SPARE_BYTES = 4 * 1024 * 1024;

/**
 * Buffers in which batches travel to a sender and come back when it has read them. A new one for each batch is memory
 * that V8 counts against the heaps of both threads: it then collects them in full every second, marks all they hold
 * with helper threads, and a sender that is collected sends nothing.
 */
export class BatchMemory {
  /** By their size. */
  readonly #spare = new Map<number, ArrayBuffer[]>();
  #spareBytes = 0;

  /** At least so many bytes; what they hold is undefined. */
  take(bytes: number): ArrayBuffer {
    const size = sizeFor(bytes);
    const spare = this.#spare.get(size)?.pop();
    if (spare === undefined) return new ArrayBuffer(size);
    this.#spareBytes -= size;
    return spare;
  }

  /** It is read and nobody looks at it any more. */
  give(buffer: ArrayBuffer): void {
    const size = buffer.byteLength;
    if (size > MOST_BYTES || size !== sizeFor(size) || this.#spareBytes + size > SPARE_BYTES) return;
    this.#spareBytes += size;
    const spare = this.#spare.get(size);
    if (spare === undefined) this.#spare.set(size, [buffer]);
    else spare.push(buffer);
  }
}

function sizeFor(bytes: number): number {
  if (bytes > MOST_BYTES) return bytes;
  return Math.max(LEAST_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
}
