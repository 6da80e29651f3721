/** Ids kept of a segment; they are positions in it, and a segment has no more rows. */
const MAX_ID = 16_777_216;
const FIRST_SIZE = 1_024;

/** How often each recorded exchange was sent, at four bytes each; ids beyond the bound are counted as unknown. */
export class UseCounts {
  readonly #bySegment = new Map<string, Uint32Array>();
  #total = 0;

  /** Everything that was counted, those beyond the bound too. */
  get total(): number {
    return this.#total;
  }

  add(segment: string, id: number): void {
    this.#total += 1;
    if (!Number.isInteger(id) || id < 0 || id >= MAX_ID) return;
    let counts = this.#bySegment.get(segment);
    if (counts === undefined || counts.length <= id) {
      const wider = new Uint32Array(
        Math.min(MAX_ID, Math.max(FIRST_SIZE, 2 ** Math.ceil(Math.log2(id + 1)))),
      );
      if (counts !== undefined) wider.set(counts);
      counts = wider;
      this.#bySegment.set(segment, counts);
    }
    counts[id]! += 1;
  }

  of(segment: string, id: number): number {
    return this.#bySegment.get(segment)?.[id] ?? 0;
  }
}
