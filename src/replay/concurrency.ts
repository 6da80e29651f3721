/**
 * How many requests would be open at once if each took as long as it did when it was recorded. Memory is that
 * number: a heap of ends.
 */
export class Concurrency {
  readonly #ends: number[] = [];
  #max = 0;
  #known = 0;

  /** Takes a planned send, in order; null for one whose recorded duration is not known. */
  add(intendedOffsetNs: number, durationNs: number | null): void {
    if (durationNs === null) return;
    this.#known += 1;
    while (this.#ends.length > 0 && this.#ends[0]! <= intendedOffsetNs) this.#removeEarliest();
    this.#insert(intendedOffsetNs + durationNs);
    this.#max = Math.max(this.#max, this.#ends.length);
  }

  /** The most at once; null where no duration was known. */
  get max(): number | null {
    return this.#known === 0 ? null : this.#max;
  }

  #insert(end: number): void {
    const heap = this.#ends;
    let at = heap.length;
    heap.push(end);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= end) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = end;
  }

  #removeEarliest(): void {
    const heap = this.#ends;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child += 1;
      if (heap[child]! >= last) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}
