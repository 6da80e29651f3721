const LINE_BYTES = 8 * 1024;
const BEGINNING = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}(?: [^\s]*(?: H?T?T?P?\/?1?\.?[01]?\r?)?)?$/;
const WHOLE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40} [^\s]+ HTTP\/1\.[01]\r?\n/;

/**
 * Whether what a client sends first is an HTTP/1 request: an answer written for one must not go to anything
 * else. The preface of HTTP/2 looks like a request line but for its version.
 */
export class FirstLine {
  #held: Buffer | null = null;
  #verdict: 'http1' | 'other' | 'open' = 'open';

  /** `open` while too little has come to say. */
  get verdict(): 'http1' | 'other' | 'open' {
    return this.#verdict;
  }

  take(chunk: Buffer): void {
    if (this.#verdict !== 'open') return;
    const bytes = this.#held ? Buffer.concat([this.#held, chunk]) : chunk;
    const text = bytes.toString('latin1', 0, LINE_BYTES);
    if (WHOLE.test(text)) this.#verdict = 'http1';
    else if (bytes.length >= LINE_BYTES || !BEGINNING.test(text)) this.#verdict = 'other';
    // A copy: the chunk may be a slice of something large.
    this.#held = this.#verdict === 'open' ? Buffer.from(bytes) : null;
  }
}
