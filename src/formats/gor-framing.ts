/** A chunk's line that is longer is none. */
const CHUNK_LINE_BYTES = 1024;

/** Where a message ends: a position, null where nothing says it, or more bytes that are wanted to know. */
export type StatedEnd = number | null | 'later';

/**
 * Where one record ends by the framing of the message in it: whoever sends a request writes its body, but not its
 * length. Asked again as more bytes come, it goes on where it was.
 */
export class GorFraming {
  readonly #mostBytes: number;
  #found: StatedEnd = 'later';
  /** Of a chunked message the line of the chunk that is next. */
  #nextChunk: number | null = null;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /**
   * @param record from its first byte on, and what is there behind it
   * @param separator where something stands in it that might end it: what has no head before that has no framing
   */
  endIn(record: Buffer, separator: number): StatedEnd {
    if (this.#found !== 'later') return this.#within(record);
    this.#nextChunk ??= this.#readHead(record, separator);
    if (this.#nextChunk !== null) this.#found = this.#walk(record, this.#nextChunk);
    return this.#within(record);
  }

  #within(record: Buffer): StatedEnd {
    if (typeof this.#found !== 'number') return this.#found;
    if (this.#found > this.#mostBytes) return null;
    return this.#found > record.length ? 'later' : this.#found;
  }

  /** @returns where the first chunk is, null where there are none */
  #readHead(record: Buffer, separator: number): number | null {
    this.#found = null;
    let from = record.indexOf('\n') + 1;
    let end = record.indexOf('\r\n\r\n', from);
    while (end >= 0 && isInterim(record.subarray(from, end))) {
      from = end + 4;
      end = record.indexOf('\r\n\r\n', from);
    }
    if (from === 0 || end < 0 || end > separator) return null;
    const head = record.toString('latin1', from, end);
    if (/^transfer-encoding:.*\bchunked[ \t]*$/im.test(head)) return end + 4;
    const lengths = new Set(
      [...head.matchAll(/^content-length:[ \t]*(\d{1,15})[ \t]*$/gim)].map(([, length]) => length),
    );
    if (lengths.size === 1) this.#found = end + 4 + Number([...lengths][0]);
    return null;
  }

  #walk(record: Buffer, from: number): StatedEnd {
    for (let at = from; ; ) {
      this.#nextChunk = at;
      if (at > this.#mostBytes) return null;
      const near = record.subarray(at, at + CHUNK_LINE_BYTES);
      const lineBytes = near.indexOf('\r\n');
      if (lineBytes < 0) return near.length < CHUNK_LINE_BYTES ? 'later' : null;
      const [, size] = /^([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?$/.exec(near.toString('latin1', 0, lineBytes)) ?? [];
      if (size === undefined) return null;
      const bytes = Number.parseInt(size, 16);
      const body = at + lineBytes + 2;
      if (bytes === 0) {
        // The blank line stands right behind, or behind trailers.
        const blank = record.indexOf('\r\n\r\n', body - 2);
        return blank < 0 ? 'later' : blank + 4;
      }
      at = body + bytes + 2;
      if (at > record.length) return at > this.#mostBytes ? null : 'later';
      if (record[at - 2] !== 0x0d || record[at - 1] !== 0x0a) return null;
    }
  }
}

/** Whether a head is of an answer that another one follows: 100 Continue, 103 Early Hints. */
export function isInterim(head: Buffer): boolean {
  return /^HTTP\/1\.[01] 1(?!01)\d\d(?: |\r|$)/.test(head.toString('latin1', 0, 16));
}
