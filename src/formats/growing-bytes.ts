/**
 * Bytes that come at one end and go at the other, in a memory that grows by doubling: what waits is not copied anew for
 * all that comes.
 */
export class GrowingBytes {
  #memory = Buffer.alloc(0);
  #from = 0;
  #to = 0;

  /** What is there. Valid until more is added. */
  get view(): Buffer {
    return this.#memory.subarray(this.#from, this.#to);
  }

  add(bytes: Uint8Array): void {
    if (this.#to + bytes.length > this.#memory.length) this.#makeRoom(bytes.length);
    this.#memory.set(bytes, this.#to);
    this.#to += bytes.length;
  }

  /** Takes away the first so many. */
  drop(count: number): void {
    this.#from += count;
  }

  #makeRoom(more: number): void {
    const held = this.view;
    const wanted = held.length + more;
    const memory = wanted * 2 > this.#memory.length ? Buffer.allocUnsafe(wanted * 2) : this.#memory;
    memory.set(held);
    this.#memory = memory;
    this.#from = 0;
    this.#to = held.length;
  }
}
