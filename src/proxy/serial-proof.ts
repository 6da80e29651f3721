const VERSION = Buffer.from('HTTP/1.');
const HEAD_END = Buffer.from('\r\n\r\n');
const NOTHING = Buffer.alloc(0);

/** How far back the beginning of a line is looked for. */
const LOOK_BACK_BYTES = 256;
/** Enough of what follows a beginning of the version to see whether it ends a line. */
const LOOK_AHEAD_BYTES = 16;
/** Where a status line has the first digit of its status. */
const STATUS_AT = VERSION.length + 2;

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const ZERO = 0x30;
const ONE = 0x31;
const NINE = 0x39;
const COLON = 0x3a;

/**
 * Whether a connection is known to have asked for one thing after the other, from its first byte on. Only then does
 * an answer that begins after a loss belong to the request before it: a client that had several under way looks the
 * same from there on. Watches everything that passes, recorded or not, and reads none of it: it looks for what can be
 * the end of a request line in what the client says, and at how the server begins. In doubt the proof is gone, for good.
 */
export class SerialProof {
  #holds = true;
  /** Requests that may have begun since an answer to the last one did. */
  #unanswered = 0;
  /** One began since the server last spoke. */
  #answerDue = false;
  /** The client's last bytes, as far as a version may be cut there. */
  #tail: Buffer = NOTHING;

  /** Whether everything asked so far is known to be answered, or being answered as the last that will be. */
  get nothingOpen(): boolean {
    return this.#holds && this.#unanswered === 0;
  }

  client(bytes: Buffer): void {
    if (!this.#holds) return;
    const begun = this.#cutRequests(bytes) + requestsIn(bytes, bytes.length);
    this.#tail = tailOf(this.#tail, bytes);
    if (begun === 0) return;
    this.#unanswered += begun;
    this.#answerDue = true;
    if (this.#unanswered > 1) this.#holds = false;
  }

  server(bytes: Buffer): void {
    if (!this.#holds || this.#unanswered === 0) return;
    const begins = beginsAnswer(bytes, 0);
    // What goes on with an older answer shows that it was not over when the next request came.
    if (this.#answerDue && !begins) this.#holds = false;
    this.#answerDue = false;
    if (begins && beginsFinalAnswer(bytes)) this.#unanswered = 0;
  }

  /** Those whose version began in the bytes before. */
  #cutRequests(bytes: Buffer): number {
    const cutAt = this.#tail.length;
    if (cutAt === 0) return 0;
    return requestsIn(Buffer.concat([this.#tail, bytes.subarray(0, LOOK_AHEAD_BYTES)]), cutAt);
  }
}

/** How many request lines may end in these bytes, of versions that begin before `before`. Two are as good as more. */
function requestsIn(bytes: Buffer, before: number): number {
  let found = 0;
  for (let at = bytes.indexOf(VERSION); at >= 0 && at < before && found < 2; ) {
    if (mayEndLine(bytes, at + VERSION.length) && !isInField(bytes, at)) found += 1;
    at = bytes.indexOf(VERSION, at + VERSION.length);
  }
  return found;
}

function mayEndLine(bytes: Buffer, from: number): boolean {
  let at = from;
  while (isDigit(bytes[at])) at += 1;
  while (bytes[at] === SPACE || bytes[at] === TAB) at += 1;
  return at >= bytes.length || bytes[at] === CR || bytes[at] === LF;
}

/** Whether the line begins as a header field does, `Via: HTTP/1.1`, and no request line can. */
function isInField(bytes: Buffer, at: number): boolean {
  const from = Math.max(0, at - LOOK_BACK_BYTES);
  const line = bytes.subarray(from, at);
  const start = line.lastIndexOf(LF) + 1;
  if (start === 0) return false;
  const colon = line.indexOf(COLON, start);
  const space = line.indexOf(SPACE, start);
  return colon >= 0 && (space < 0 || colon < space);
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE;
}

function tailOf(before: Buffer, bytes: Buffer): Buffer {
  const length = VERSION.length - 1;
  const joined = bytes.length >= length ? bytes : Buffer.concat([before, bytes]);
  const end = joined.subarray(-length);
  // Most bytes end in nothing that could be the beginning of a version.
  const at = end.indexOf(VERSION[0] as number);
  return at < 0 ? NOTHING : Buffer.from(end.subarray(at));
}

function beginsAnswer(bytes: Buffer, at: number): boolean {
  return bytes.length > at + STATUS_AT && VERSION.equals(bytes.subarray(at, at + VERSION.length));
}

/** Of bytes that begin with an answer: whether it, or one behind it, is more than an interim one. */
function beginsFinalAnswer(bytes: Buffer): boolean {
  let at = 0;
  while (beginsAnswer(bytes, at)) {
    if (bytes[at + STATUS_AT] !== ONE) return true;
    const end = bytes.indexOf(HEAD_END, at);
    if (end < 0) return false;
    at = end + HEAD_END.length;
  }
  return false;
}
