import { ASCII } from '../core/ascii.ts';

/** A longer body is scanned to here. Of the rest, only its last byte counts. */
const SCANNED_BYTES = 16 * 1024;

const { QUOTE, BACKSLASH, OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET } = ASCII;

/** What a byte outside strings means. */
const OTHER = 0;
const STRING = 1;
const OPENS = 2;
const CLOSES = 3;
const NULL = 4;
const FOREIGN = 5;

const KINDS = new Uint8Array(256).fill(FOREIGN);
// A single quote, NaN and Infinity have bytes that JSON has only in strings.
for (const each of '0123456789+-.eE truefalsn,:\t\n\r') KINDS[each.charCodeAt(0)] = OTHER;
KINDS[QUOTE] = STRING;
KINDS['n'.charCodeAt(0)] = NULL;
for (const each of [OPEN_BRACE, OPEN_BRACKET]) KINDS[each] = OPENS;
for (const each of [CLOSE_BRACE, CLOSE_BRACKET]) KINDS[each] = CLOSES;

/**
 * Decides whether a body is complete JSON while its bytes pass, with constant memory. It follows strings and depth, and
 * does not check the order of members. Several documents in a row are accepted, because some servers send JSON lines
 * as JSON.
 */
export class JsonScan {
  #depth = 0;
  #isInString = false;
  /** Whether the next byte of a string is escaped. */
  #isEscaped = false;
  #isForeign = false;
  #scannedBytes = 0;
  #first = 0;
  #last = 0;
  /** Whether it may have a null, an empty string or an empty list. */
  mayHoldNothing = false;

  write(bytes: Buffer): void {
    if (this.#isForeign || bytes.length === 0) return;
    const room = Math.min(bytes.length, SCANNED_BYTES - this.#scannedBytes);
    if (room > 0) this.#scan(bytes, room);
    this.#keepEnds(bytes);
  }

  /** Whether it is known to be no complete JSON. An empty body is not known to be any. */
  get isBroken(): boolean {
    if (this.#isForeign) return true;
    if (this.#scannedBytes <= SCANNED_BYTES) return this.#depth !== 0 || this.#isInString;
    const closing = this.#first === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
    return this.#first === OPEN_BRACE || this.#first === OPEN_BRACKET ? this.#last !== closing : false;
  }

  #scan(bytes: Buffer, end: number): void {
    let depth = this.#depth;
    let isInString = this.#isInString;
    let at = this.#isEscaped ? 1 : 0;
    // A pair of quotes or brackets may be apart in two pieces.
    this.mayHoldNothing ||= KINDS[bytes[0]!] === STRING || KINDS[bytes[0]!] === CLOSES;
    for (; at < end; at++) {
      const byte = bytes[at]!;
      if (isInString) {
        if (byte === QUOTE) {
          isInString = false;
          if (bytes[at - 1] === QUOTE) this.mayHoldNothing = true;
        } else if (byte === BACKSLASH) at += 1;
        continue;
      }
      const kind = KINDS[byte]!;
      if (kind === OTHER) continue;
      if (kind === STRING) isInString = true;
      else if (kind === OPENS) depth += 1;
      else if (kind === NULL) this.mayHoldNothing = true;
      else if (kind === FOREIGN || depth === 0) {
        this.#isForeign = true;
        return;
      } else {
        depth -= 1;
        if (bytes[at - 1] === OPEN_BRACKET) this.mayHoldNothing = true;
      }
    }
    this.#isEscaped = at > end;
    this.#isInString = isInString;
    this.#depth = depth;
  }

  #keepEnds(bytes: Buffer): void {
    if (this.#scannedBytes === 0) this.#first = bytes[0]!;
    this.#scannedBytes += bytes.length;
    let at = bytes.length - 1;
    while (at >= 0 && isSpace(bytes[at]!)) at -= 1;
    if (at >= 0) this.#last = bytes[at]!;
  }
}

function isSpace(byte: number): boolean {
  return byte === ASCII.SPACE || byte === ASCII.LF || byte === ASCII.CR || byte === ASCII.TAB;
}
