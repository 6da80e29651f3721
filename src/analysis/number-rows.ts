/** Memory is taken as it is needed, so many rows at a time. */
const CHUNK_ROWS = 2_048;

/** Rows of numbers, kept in order and given up once: eight bytes a number and outside the heap. */
export class NumberRows {
  readonly #columns: number;
  readonly #chunks: Float64Array[] = [];
  #length = 0;

  constructor(columns: number) {
    this.#columns = columns;
  }

  get length(): number {
    return this.#length;
  }

  push(row: readonly number[]): void {
    const at = this.#length % CHUNK_ROWS;
    if (at === 0) this.#chunks.push(new Float64Array(CHUNK_ROWS * this.#columns));
    this.#chunks.at(-1)?.set(row, at * this.#columns);
    this.#length++;
  }

  /** Gives all rows up, each valid until the next is asked for. */
  *takeAll(): Generator<Float64Array> {
    const chunks = this.#chunks.splice(0);
    let left = this.#length;
    this.#length = 0;
    for (const chunk of chunks) {
      const end = Math.min(left, CHUNK_ROWS) * this.#columns;
      for (let at = 0; at < end; at += this.#columns) yield chunk.subarray(at, at + this.#columns);
      left -= CHUNK_ROWS;
    }
  }
}
