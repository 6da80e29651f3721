import { type SecretNameAdditions, SecretNames } from './secret-names.ts';

/** Bytes with their secrets masked, always a copy of its own, and what was masked. */
export interface RedactedBytes {
  readonly bytes: Uint8Array;
  /** Header names in lower case; `?key` for a query key of the request target; `@` for its user info. */
  readonly names: readonly string[];
}

const MASK = 0x2a; // '*': allowed in header values and in query strings, and no part of any framing
const NOTHING: readonly string[] = Object.freeze([]);
const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const HASH = 0x23;
const AMPERSAND = 0x26;
const SLASH = 0x2f;
const COLON = 0x3a;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const GREATER = 0x3e;
const QUESTION = 0x3f;
const AT = 0x40;

/**
 * Masks secrets in raw heads before anything is stored. Lengths stay equal byte for byte, so sizes stay true
 * and framing, header count and every other value are untouched. Never throws, whatever the bytes.
 */
export class Redaction {
  readonly #names: SecretNames;
  readonly additions: Required<SecretNameAdditions>;

  constructor(additions: SecretNameAdditions = {}) {
    this.additions = { headers: additions.headers ?? [], queryKeys: additions.queryKeys ?? [] };
    this.#names = new SecretNames(additions);
  }

  /** `head`: request line, header lines and the blank line, as on the wire. */
  requestHead(head: Uint8Array): RedactedBytes {
    const masking = new Masking(head);
    const end = masking.lineEnd(0);
    this.#maskTarget(masking, end);
    this.#maskFields(masking, end + 1);
    return masking.result();
  }

  /** `head`: status line, header lines and the blank line, as on the wire. */
  responseHead(head: Uint8Array): RedactedBytes {
    const masking = new Masking(head);
    this.#maskFields(masking, masking.lineEnd(0) + 1);
    return masking.result();
  }

  /** `lines`: trailer lines with their line ends. */
  trailers(lines: Uint8Array): RedactedBytes {
    const masking = new Masking(lines);
    this.#maskFields(masking, 0);
    return masking.result();
  }

  #maskTarget(masking: Masking, lineEnd: number): void {
    const { text } = masking;
    const from = text.indexOf(' ') + 1;
    if (from === 0 || from >= lineEnd) return;
    const last = text.lastIndexOf(' ', lineEnd);
    const to = last > from ? last : lineEnd;
    // Absolute-form (`http://user:pass@host/`) and authority-form (`user:pass@host:443`) may name a user.
    if (text.charCodeAt(from) !== SLASH) maskUserInfo(masking, from, to, '@');
    this.#maskQuery(masking, from, to, null);
  }

  #maskFields(masking: Masking, from: number): void {
    const { text } = masking;
    let start = from;
    while (start < text.length) {
      let end = masking.lineEnd(start);
      // A folded line belongs to the value before it.
      while (isBlank(text.charCodeAt(end + 1))) end = masking.lineEnd(end + 1);
      const colon = indexWithin(text, COLON, start, end);
      if (colon > start) this.#maskField(masking, start, colon, end);
      start = end + 1;
    }
  }

  #maskField(masking: Masking, start: number, colon: number, end: number): void {
    const { text } = masking;
    // White space before the colon is malformed, yet some server may read the name without it.
    const name = text.slice(start, colon).trimEnd();
    const treatment = this.#names.header(name);
    if (treatment === 'keep') return;
    let from = colon + 1;
    let to = end;
    while (from < to && isBlank(text.charCodeAt(from))) from += 1;
    while (to > from && isBlankOrCr(text.charCodeAt(to - 1))) to -= 1;
    if (treatment === 'mask') {
      masking.mask(from, to, name.toLowerCase());
    } else {
      const label = name.toLowerCase();
      maskUserInfo(masking, from, to, label);
      this.#maskQuery(masking, from, to, label);
    }
  }

  /**
   * Masks the values of secret keys in `text[from, to)`. A key may follow any of `? & ; #`, while a value ends
   * only at `&`, `#`, white space or `>`: whichever way a server splits at `;`, nothing secret is left over.
   */
  #maskQuery(masking: Masking, from: number, to: number, label: string | null): void {
    const { text } = masking;
    let at = nextDelimiter(text, from, to);
    while (at < to) {
      const keyStart = at + 1;
      const next = nextDelimiter(text, keyStart, to);
      const equals = indexWithin(text, EQUALS, keyStart, next);
      at = next;
      if (equals < 0) continue;
      const key = text.slice(keyStart, equals);
      const valueEnd = valueEndOf(text, equals + 1, to);
      if (this.#names.queryKey(key) || this.#names.hiddenIn(text.slice(equals + 1, next))) {
        masking.mask(equals + 1, valueEnd, label ?? `?${key.toLowerCase()}`);
        at = nextDelimiter(text, valueEnd, to);
      }
    }
  }
}

/** One pass over one head: its text, and the ranges to be masked in the copy. */
class Masking {
  readonly text: string;
  readonly #copy: Buffer;
  #names: string[] | null = null;

  constructor(bytes: Uint8Array) {
    this.#copy = Buffer.from(bytes);
    this.text = this.#copy.toString('latin1');
  }

  /** Position of the line feed that ends the line `from` lies in, or the end of the text. */
  lineEnd(from: number): number {
    const end = this.text.indexOf('\n', from);
    return end < 0 ? this.text.length : end;
  }

  mask(from: number, to: number, name: string): void {
    if (to <= from) return;
    // Line ends inside a folded value are framing and stay.
    for (let at = from; at < to; at += 1) {
      const byte = this.#copy[at];
      if (byte !== CR && byte !== LF) this.#copy[at] = MASK;
    }
    this.#names ??= [];
    if (!this.#names.includes(name)) this.#names.push(name);
  }

  result(): RedactedBytes {
    return { bytes: this.#copy, names: this.#names ?? NOTHING };
  }
}

/** Masks what stands before the `@` of an authority, in `scheme://user:pass@host` or in a bare authority. */
function maskUserInfo(masking: Masking, from: number, to: number, name: string): void {
  const { text } = masking;
  if (indexWithin(text, AT, from, to) < 0) return;
  let slashes = doubleSlash(text, from, to);
  let start = slashes < 0 ? from : slashes + 2;
  do {
    let at = -1;
    let end = start;
    for (; end < to && !endsAuthority(text.charCodeAt(end)); end += 1) {
      if (text.charCodeAt(end) === AT) at = end;
    }
    if (at >= 0) masking.mask(start, at, name);
    slashes = doubleSlash(text, end, to);
    start = slashes + 2;
  } while (slashes >= 0);
}

/** Position of `code` in `text[from, to)`, or -1. Never looks past `to`, so that many short lines stay cheap. */
function indexWithin(text: string, code: number, from: number, to: number): number {
  for (let at = from; at < to; at += 1) if (text.charCodeAt(at) === code) return at;
  return -1;
}

function doubleSlash(text: string, from: number, to: number): number {
  for (let at = from; at + 1 < to; at += 1) {
    if (text.charCodeAt(at) === SLASH && text.charCodeAt(at + 1) === SLASH) return at;
  }
  return -1;
}

function endsAuthority(code: number): boolean {
  return code === SLASH || code === QUESTION || code === HASH || code <= SPACE;
}

function nextDelimiter(text: string, from: number, to: number): number {
  for (let at = from; at < to; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUESTION || code === AMPERSAND || code === SEMICOLON || code === HASH) return at;
  }
  return to;
}

function valueEndOf(text: string, from: number, to: number): number {
  for (let at = from; at < to; at += 1) {
    const code = text.charCodeAt(at);
    if (code === AMPERSAND || code === HASH || code === GREATER || code <= SPACE) return at;
  }
  return to;
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

function isBlankOrCr(code: number): boolean {
  return isBlank(code) || code === CR || code === LF;
}
