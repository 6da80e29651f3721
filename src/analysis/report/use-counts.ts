/** Ids kept of a segment; they are positions in it, and a segment has no more rows. */
const MAX_ID = 16_777_216;
const FIRST_SIZE = 1_024;

interface SegmentUses {
  readonly times: Uint32Array;
  readonly sizeClasses: Uint8Array;
}

/** How often each recorded exchange was sent, at five bytes each; ids beyond the bound are counted as unknown. */
export class UseCounts {
  readonly #bySegment = new Map<string, SegmentUses>();
  #total = 0;

  /** Everything that was counted, those beyond the bound too. */
  get total(): number {
    return this.#total;
  }

  /** @param sizeClass of the request as it was sent, which may be another than that of the recorded one */
  add(segment: string, id: number, sizeClass: number): void {
    this.#total += 1;
    if (!Number.isInteger(id) || id < 0 || id >= MAX_ID) return;
    const { times, sizeClasses } = this.#usesOf(segment, id);
    times[id]! += 1;
    sizeClasses[id] = sizeClass;
  }

  /** Null for what was not sent. */
  of(segment: string, id: number): { readonly times: number; readonly sizeClass: number } | null {
    const uses = this.#bySegment.get(segment);
    const times = uses?.times[id] ?? 0;
    return times === 0 ? null : { times, sizeClass: uses?.sizeClasses[id] ?? 0 };
  }

  #usesOf(segment: string, id: number): SegmentUses {
    const known = this.#bySegment.get(segment);
    if (known !== undefined && known.times.length > id) return known;
    const size = Math.min(MAX_ID, Math.max(FIRST_SIZE, 2 ** Math.ceil(Math.log2(id + 1))));
    const wider = { times: new Uint32Array(size), sizeClasses: new Uint8Array(size) };
    if (known !== undefined) {
      wider.times.set(known.times);
      wider.sizeClasses.set(known.sizeClasses);
    }
    this.#bySegment.set(segment, wider);
    return wider;
  }
}
