const HEAD_END = Buffer.from('\r\n\r\n');

/** Counts messages with bodies of equal size. Heads may vary, because a proxy rewrites them. */
export class MessageCounter {
  readonly #bodyBytes: number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(bodyBytes: number) {
    this.#bodyBytes = bodyBytes;
  }

  /** Adds bytes and returns the number of messages that they complete. */
  push(chunk: Buffer): number {
    let bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    let complete = 0;
    for (;;) {
      const head = bytes.indexOf(HEAD_END);
      if (head < 0 || bytes.length < head + HEAD_END.length + this.#bodyBytes) break;
      bytes = bytes.subarray(head + HEAD_END.length + this.#bodyBytes);
      complete += 1;
    }
    this.#rest = bytes;
    return complete;
  }
}
