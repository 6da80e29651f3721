const VERSION = Buffer.from('HTTP/1.');
const HEAD_END = Buffer.from('\r\n\r\n');
const NOTHING = Buffer.alloc(0);

/** How far back the beginning of a line is looked for. */
const LOOK_BACK_BYTES = 256;
const SMALL_BYTES = 1_024;
/** Where a status line has the first digit of its status. */
const STATUS_AT = VERSION.length + 2;
/** What says how long a request's body is, and whether it comes at all. */
const BODY_FIELD = /[\r\n](content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)/gi;
const CONTENT_LENGTH = /^content-length$/i;
const PLAIN_LENGTH = /^\d{1,15}[ \t]*$/;

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
 * same from there on. Watches everything that passes, recorded or not, and reads little of it: it looks for what can
 * be the end of a request line in what the client says, bodies of plain lengths left out, and at how the server
 * begins. In doubt the proof is gone, for good.
 */
export class SerialProof {
  #holds = true;
  /** Requests that may have begun since an answer to the last one did. */
  #unanswered = 0;
  /** One began since the server last spoke. */
  #answerDue = false;
  /** The client's last bytes, as far as a version may be cut there. */
  #tail: Buffer = NOTHING;
  /** Of a request's body, what is still to come: nothing begins in it, and looking would delay what is large. */
  #bodyLeft = 0;

  /** Whether everything asked so far is known to be answered, or being answered as the last that will be. */
  get nothingOpen(): boolean {
    return this.#holds && this.#unanswered === 0;
  }

  client(bytes: Buffer): void {
    if (!this.#holds) return;
    const skipped = Math.min(this.#bodyLeft, bytes.length);
    this.#bodyLeft -= skipped;
    if (this.#tail.length > 0) this.#look(Buffer.concat([this.#tail, bytes]));
    else if (skipped === 0) this.#look(bytes);
    else if (skipped < bytes.length) this.#look(bytes.subarray(skipped));
  }

  server(bytes: Buffer): void {
    if (!this.#holds || this.#unanswered === 0) return;
    const begins = beginsAnswer(bytes, 0);
    // What goes on with an older answer shows that it was not over when the next request came.
    if (this.#answerDue && !begins) this.#holds = false;
    this.#answerDue = false;
    if (begins && beginsFinalAnswer(bytes)) this.#unanswered = 0;
  }

  #look(bytes: Buffer): void {
    this.#tail = NOTHING;
    let from = 0;
    for (
      let at = bytes.indexOf(VERSION);
      at >= 0;
      at = from < bytes.length ? bytes.indexOf(VERSION, from) : -1
    ) {
      from = at + VERSION.length;
      if (!mayEndLine(bytes, from) || isInField(bytes, at)) continue;
      this.#unanswered += 1;
      this.#answerDue = true;
      this.#holds = this.#unanswered === 1;
      if (!this.#holds) return;
      // Small bytes are looked through sooner than their head is read, but where the body has yet to come.
      if (bytes.length <= SMALL_BYTES && !endsHead(bytes)) continue;
      const end = endOfRequest(bytes, from);
      from = Math.min(end, bytes.length);
      this.#bodyLeft = end - from;
    }
    this.#tail = tailOf(bytes, from);
  }
}

/**
 * Where the request ends whose line ends at `from`, behind these bytes maybe: it and its body of a plain length, or
 * none. Where that is not said for certain, and for a body that may stay away, `from`: it is looked through.
 */
function endOfRequest(bytes: Buffer, from: number): number {
  const headEnd = bytes.indexOf(HEAD_END, from);
  if (headEnd < 0) return from;
  const head = bytes.toString('latin1', from, headEnd);
  BODY_FIELD.lastIndex = 0;
  const [, name, value = ''] = BODY_FIELD.exec(head) ?? [];
  if (name === undefined) return headEnd + HEAD_END.length;
  const plain = CONTENT_LENGTH.test(name) && PLAIN_LENGTH.test(value) && !BODY_FIELD.test(head);
  return plain ? headEnd + HEAD_END.length + Number(value) : from;
}

function mayEndLine(bytes: Buffer, from: number): boolean {
  let at = from;
  while (isDigit(bytes[at])) at += 1;
  while (bytes[at] === SPACE || bytes[at] === TAB) at += 1;
  return at >= bytes.length || bytes[at] === CR || bytes[at] === LF;
}

/** Whether the line begins as a header field does, `Via: HTTP/1.1`, and no request line can. */
function isInField(bytes: Buffer, at: number): boolean {
  let start = at;
  while (start > 0 && at - start < LOOK_BACK_BYTES && bytes[start - 1] !== LF) start -= 1;
  if (bytes[start - 1] !== LF) return false;
  const colon = bytes.indexOf(COLON, start);
  const space = bytes.indexOf(SPACE, start);
  return colon >= 0 && colon < at && (space < 0 || colon < space);
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE;
}

function tailOf(bytes: Buffer, from: number): Buffer {
  for (let at = Math.max(from, bytes.length - VERSION.length + 1); at < bytes.length; at += 1) {
    // Most bytes end in nothing that could be the beginning of a version.
    if (bytes[at] === VERSION[0]) return Buffer.from(bytes.subarray(at));
  }
  return NOTHING;
}

function endsHead(bytes: Buffer): boolean {
  return holdsAt(bytes, bytes.length - HEAD_END.length, HEAD_END);
}

function beginsAnswer(bytes: Buffer, at: number): boolean {
  return bytes.length > at + STATUS_AT && holdsAt(bytes, at, VERSION);
}

/** As `equals` does, which takes ten times as long for a few bytes. */
function holdsAt(bytes: Buffer, at: number, wanted: Buffer): boolean {
  for (let index = 0; index < wanted.length; index += 1)
    if (bytes[at + index] !== wanted[index]) return false;
  return true;
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
