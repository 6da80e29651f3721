import { ASCII, byteSet, seek } from '../core/ascii.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { holdsCredential } from './credentials.ts';
import { NameAllowance, type SecretNameAdditions, SecretNames, type SessionNames } from './secret-names.ts';
import { type Hiding, type TextRange, UrlSecrets } from './url-secrets.ts';

/** A copy of bytes with masked secrets, and what was masked. */
export interface RedactedBytes {
  readonly bytes: Uint8Array;
  /**
   * Header names in lower case. In the request's target: `?key` for a query value, `?` for one without a key,
   * `@` for other user info.
   */
  readonly names: readonly string[];
}

/** The names of session keys, and the hash that replaces their values. */
interface SessionHiding {
  readonly names: SessionNames;
  readonly hash: KeyedHash;
}

/** Allowed in header values and query strings, and never part of framing. */
const MASK = '*';
const NOTHING: readonly string[] = Object.freeze([]);
const { TAB, LF, CR, SPACE } = ASCII;

const COLONS = byteSet(':');
const WIDE = /[\u0100-\uffff]/g;

/** Matches every path that may have something to hide. */
const MAY_HIDE = /[;&@%]/;

/**
 * Masks secrets in raw heads before anything is stored, and replaces session keys by keyed hashes. Equal keys
 * stay equal, so a replay still knows which requests belong together. Lengths stay equal byte for byte;
 * framing, header count and all other values stay unchanged. Never throws.
 */
export class Redaction {
  readonly #names: SecretNames;
  readonly #urls: UrlSecrets;
  readonly #hash: KeyedHash | null;
  readonly additions: Required<SecretNameAdditions>;

  /** @param session null if nothing names a session */
  constructor(additions: SecretNameAdditions = {}, session: SessionHiding | null = null) {
    this.additions = { headers: additions.headers ?? [], queryKeys: additions.queryKeys ?? [] };
    this.#names = new SecretNames(additions, session?.names);
    this.#urls = new UrlSecrets(this.#names);
    this.#hash = session?.hash ?? null;
  }

  /** `head`: request line, header lines and the blank line, as received. */
  requestHead(head: Uint8Array): RedactedBytes {
    const masking = new Masking(head, this.#hash);
    this.#maskTarget(masking, masking.lineEnd(0));
    return this.#maskFields(masking, masking.lineEnd(0) + 1);
  }

  /** `head`: status line, header lines and the blank line, as received. */
  responseHead(head: Uint8Array): RedactedBytes {
    const masking = new Masking(head, this.#hash);
    return this.#maskFields(masking, masking.lineEnd(0) + 1);
  }

  /** `lines`: trailer lines with their line ends. */
  trailers(lines: Uint8Array): RedactedBytes {
    return this.#maskFields(new Masking(lines, this.#hash), 0);
  }

  /** A request target for use in a route. Each hidden part of any length becomes one `*`. */
  nameable(target: string): string {
    if (!MAY_HIDE.test(target)) return target;
    const hidden = new HiddenRanges();
    // One byte per character: wide characters belong to no URL grammar and become a byte that does not either.
    const bytes = Buffer.from(target.replace(WIDE, '\xff'), 'latin1');
    this.#urls.find({ text: bytes, from: 0, to: bytes.length, header: null, bare: true }, hidden);
    return hidden.starred(target);
  }

  #maskTarget(masking: Masking, lineEnd: number): void {
    const { text } = masking;
    const from = text.indexOf(' ') + 1;
    if (from === 0 || from >= lineEnd) return;
    const last = text.lastIndexOf(' ', lineEnd);
    const to = last > from ? last : lineEnd;
    this.#urls.find({ text: masking.bytes, from, to, header: null, bare: true }, masking);
  }

  #maskFields(masking: Masking, from: number): RedactedBytes {
    const { text } = masking;
    let start = from;
    while (start < text.length) {
      let end = masking.lineEnd(start);
      // A folded line belongs to the value before it.
      while (isBlank(text.charCodeAt(end + 1))) end = masking.lineEnd(end + 1);
      const colon = seek(masking.bytes, start, end, COLONS);
      if (colon > start && colon < end) this.#maskField(masking, start, colon, end);
      start = end + 1;
    }
    return masking.result();
  }

  #maskField(masking: Masking, start: number, colon: number, end: number): void {
    const { text } = masking;
    // White space before the colon is malformed, but some servers accept the name.
    const name = text.slice(start, colon).trimEnd();
    const treatment = this.#names.header(name);
    if (treatment === 'keep') return;
    let from = colon + 1;
    let to = end;
    while (from < to && isBlank(text.charCodeAt(from))) from += 1;
    while (to > from && isBlankOrCr(text.charCodeAt(to - 1))) to -= 1;
    const lower = name.toLowerCase();
    if (treatment === 'hash') masking.hash(from, to);
    else if (treatment === 'mask') masking.mask(from, to, lower);
    else if (treatment !== 'urls' && this.#isCredential(text.slice(from, to))) masking.mask(from, to, lower);
    else if (lower.endsWith('-bin') && this.#isSecretInside(text.slice(from, to), lower))
      masking.mask(from, to, lower);
    else {
      const bare = treatment === 'url';
      this.#urls.find({ text: masking.bytes, from, to, header: lower, bare }, masking);
    }
  }

  /** Binary metadata of gRPC is in base64, one value or several: masked as a whole if one has a secret. */
  #isSecretInside(values: string, header: string): boolean {
    return values.split(',').some((value) => {
      const bytes = Buffer.from(value, 'base64');
      const hidden = new HiddenRanges();
      this.#urls.find({ text: bytes, from: 0, to: bytes.length, header, bare: false }, hidden);
      return hidden.any || this.#isCredential(bytes.toString('latin1'));
    });
  }

  #isCredential(value: string): boolean {
    const allowance = new NameAllowance();
    return holdsCredential(value, (name) => this.#names.isSecret(name, allowance));
  }
}

/** One pass over one head: its text, and a copy with masked ranges. */
class Masking implements Hiding {
  readonly bytes: Uint8Array;
  readonly text: string;
  readonly #copy: Buffer;
  readonly #hash: KeyedHash | null;
  #names: string[] | null = null;

  constructor(bytes: Uint8Array, hash: KeyedHash | null) {
    this.bytes = bytes;
    this.#copy = Buffer.from(bytes);
    this.#hash = hash;
    this.text = this.#copy.toString('latin1');
  }

  /** Position of the line feed that ends the line at `from`, or the end of the text. */
  lineEnd(from: number): number {
    const end = this.text.indexOf('\n', from);
    return end < 0 ? this.text.length : end;
  }

  mask(from: number, to: number, name: string): void {
    if (to <= from) return;
    this.#put(from, to, MASK);
    this.#names ??= [];
    if (!this.#names.includes(name)) this.#names.push(name);
  }

  hash(from: number, to: number): void {
    if (to <= from || this.#hash === null) return;
    const digest = this.#hash.ofValue(Buffer.from(this.text.slice(from, to), 'latin1'));
    this.#put(from, to, Buffer.from(digest).toString('base64url'));
  }

  result(): RedactedBytes {
    return { bytes: this.#copy, names: this.#names ?? NOTHING };
  }

  #put(from: number, to: number, text: string): void {
    for (let at = from; at < to; at += 1) {
      const byte = this.#copy[at];
      // Line ends inside a folded value are framing and stay.
      if (byte !== CR && byte !== LF) this.#copy[at] = text.charCodeAt((at - from) % text.length);
    }
  }
}

/** The hidden ranges of a text, masked or hashed. */
class HiddenRanges implements Hiding {
  readonly #ranges: TextRange[] = [];

  mask(from: number, to: number): void {
    if (to > from) this.#ranges.push([from, to]);
  }

  hash(from: number, to: number): void {
    this.mask(from, to);
  }

  get any(): boolean {
    return this.#ranges.length > 0;
  }

  /** The text with one `*` per hidden range. */
  starred(text: string): string {
    let shown = '';
    let at = 0;
    for (const [from, to] of this.#ranges.sort(([a], [b]) => a - b)) {
      if (from >= at) shown += `${text.slice(at, from)}${MASK}`;
      at = Math.max(at, to);
    }
    return shown + text.slice(at);
  }
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

function isBlankOrCr(code: number): boolean {
  return isBlank(code) || code === CR || code === LF;
}
