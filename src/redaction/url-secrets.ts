import { ASCII, type ByteSet, byteSet, seek } from '../core/ascii.ts';
import { decodedRounds, encodedByte } from '../core/text.ts';
import type { NameTreatment, SecretNames } from './secret-names.ts';

/** Receives the ranges that are not stored unchanged. */
export interface Hiding {
  /** @param name the name noted beside the message */
  mask(from: number, to: number, name: string): void;
  /** Replaces a session key by its hash. */
  hash(from: number, to: number): void;
}

/** A URL, or a text with URLs, within a longer text. */
interface UrlPlace {
  readonly text: Uint8Array;
  readonly from: number;
  readonly to: number;
  /** End of its path: the first `?` or `#`, or the end of the text. */
  readonly query: number;
  /** The lower-case name of its header; null for a request's target. */
  readonly header: string | null;
  /** The bytes that end a value. */
  readonly valueEnds: ByteSet;
}

const USER_INFO = '@';

const { HASH, AMPERSAND, SLASH, SPACE, LESS, QUESTION, AT, PERCENT } = ASCII;
const EQUALS = byteSet('=');
const USER_INFO_SIGNS = byteSet('@%');
const SIGN = byteSet('@');
const CODE = byteSet('%');
const SEGMENT_END = byteSet('/');
const QUERY_START = byteSet('?#');
/** What may precede a key. */
const KEY_STARTS = byteSet('?&;#');
const VALUE_ENDS = byteSet('&#');
/** In a list, each URL has angle brackets. */
const LISTED_VALUE_ENDS = byteSet('&#>');
/** Ends of a path parameter (`/a;sid=1/b`). */
const PARAMETER_ENDS = byteSet('/;');

/**
 * Finds the secrets of a URL: user info, also of URLs within it, and values of secret keys. It finds rather
 * too much: docs/adr/0008-redaction-default.md. Takes linear time for any text.
 */
export class UrlSecrets {
  readonly #names: SecretNames;

  constructor(names: SecretNames) {
    this.#names = names;
  }

  /** @param header lower-case name of the header with this value; null for a request's target */
  find(text: Uint8Array, from: number, to: number, header: string | null, hiding: Hiding): void {
    // Outside of lists `>` is an ordinary character that clients send unencoded.
    const listed = header !== null && text[from] === LESS;
    const query = seek(text, from, to, QUERY_START);
    const url = { text, from, to, query, header, valueEnds: listed ? LISTED_VALUE_ENDS : VALUE_ENDS };
    if (holdsAny(text, from, to, USER_INFO_SIGNS)) this.#findUserInfo(url, hiding);
    this.#findValues(url, hiding);
  }

  /** For the value of any other header: only the user info of URLs. */
  findUserInfo(text: Uint8Array, from: number, to: number, header: string, hiding: Hiding): void {
    if (!holdsAny(text, from, to, SIGN)) return;
    for (const [start, end] of userInfoIn(text.subarray(from, to), false)) {
      hiding.mask(from + start, from + end, header);
    }
  }

  #findUserInfo(url: UrlPlace, hiding: Hiding): void {
    const { text, from, to, query, header, valueEnds } = url;
    const name = header ?? USER_INFO;
    // In a header another URL may follow the query of the first.
    for (const [start, end] of userInfoIn(text.subarray(from, header === null ? query : to), true)) {
      hiding.mask(from + start, from + end, name);
    }
    if (holdsAny(text, from, query, CODE)) {
      for (let start = from; start < query; ) {
        const end = seek(text, start, query, SEGMENT_END);
        if (hidesUserInfo(text.subarray(start, end))) hiding.mask(start, end, name);
        start = end + 1;
      }
    }
    for (let start = query + 1; start < to; ) {
      const end = seek(text, start, to, valueEnds);
      findInField(text, start, end, header, hiding);
      start = end + 1;
    }
  }

  /**
   * A key may follow any of `? & ; #`, but a value ends only at `&` and `#`. This covers every way in which
   * servers split.
   */
  #findValues({ text, from, to, query, header, valueEnds }: UrlPlace, hiding: Hiding): void {
    let at = seek(text, from, to, KEY_STARTS);
    while (at < to) {
      const inPath = at < query;
      const start = at + 1;
      const next = seek(text, start, to, KEY_STARTS);
      const equals = seek(text, start, next, EQUALS);
      const key = equals === next ? '' : latin1(text, start, equals);
      const value = equals === next ? start : equals + 1;
      const treatment = this.#treatmentOf(key, text.subarray(value, next));
      at = next;
      if (treatment === 'keep') continue;
      const isParameter = treatment === 'hash' && inPath;
      const end = isParameter ? seek(text, value, query, PARAMETER_ENDS) : seek(text, value, to, valueEnds);
      if (treatment === 'hash') hiding.hash(value, end);
      else hiding.mask(value, end, header ?? noteOf(key));
      at = seek(text, end, to, KEY_STARTS);
    }
  }

  #treatmentOf(key: string, value: Uint8Array): NameTreatment {
    const named = this.#names.queryKey(key);
    return named === 'keep' ? this.#names.hiddenIn(value) : named;
  }
}

/**
 * User info between two `&`. If the key's value is an encoded URL with user info, it is masked completely.
 */
function findInField(
  text: Uint8Array,
  from: number,
  to: number,
  header: string | null,
  hiding: Hiding,
): void {
  if (!holdsAny(text, from, to, USER_INFO_SIGNS)) return;
  const { plain, more } = fieldUserInfo(text.subarray(from, to));
  if (plain.length === 0 && !more) return;
  const equals = seek(text, from, to, EQUALS);
  const isNamed = equals < to;
  const name = header ?? (isNamed ? noteOf(latin1(text, from, equals)) : USER_INFO);
  for (const [start, end] of plain) hiding.mask(from + start, from + end, name);
  if (!more) return;
  const hidesKey = !isNamed || hidesInName(text.subarray(from, equals));
  hiding.mask(hidesKey ? from : equals + 1, to, name);
}

/** The name to note: the key, unless it contains a secret itself. */
function noteOf(key: string): string {
  return holdsUserInfo(Buffer.from(key, 'latin1')) ? USER_INFO : `?${key.toLowerCase()}`;
}

function latin1(text: Uint8Array, from: number, to: number): string {
  return Buffer.from(text.buffer, text.byteOffset + from, to - from).toString('latin1');
}

function holdsAny(text: Uint8Array, from: number, to: number, set: ByteSet): boolean {
  return seek(text, from, to, set) < to;
}

/** From the first character to after the last. */
export type TextRange = readonly [from: number, to: number];

const NONE: readonly TextRange[] = Object.freeze([]);

/** Bytes that encode an `@` under any number of encodings. */
const WRITES_AT = byteSet('@%02345');

/** Most ranges reported individually per field: a client may send a million. */
const REPORTED_RANGES = 64;

/**
 * Finds user info (`user:password` in `//user:password@host`) in any text, including URLs and lists of them.
 * Text before an `@` in a path or an e-mail address is no user info. Texts are bytes here, because bodies may
 * be megabytes.
 * @param bare whether the text may begin with an authority (`user:password@host:443`)
 * @param most the most ranges to find
 */
function userInfoIn(
  text: Uint8Array,
  bare: boolean,
  most: number = Number.POSITIVE_INFINITY,
): readonly TextRange[] {
  if (!text.includes(AT)) return NONE;
  const found: TextRange[] = [];
  let inQuery = false;
  let at = bare ? authorityFrom(text, 0, inQuery, found) : 0;
  while (at < text.length && found.length < most) {
    const code = text[at] as number;
    if (code === SLASH && text[at + 1] === SLASH) {
      at = authorityFrom(text, at + 2, inQuery, found);
      continue;
    }
    // White space or an angle bracket ends a URL in a list and its query.
    if (code === QUESTION || code === HASH) inQuery = true;
    else if (code <= SPACE || code === LESS) inQuery = false;
    at += 1;
  }
  return found;
}

/** Whether a text has user info after one or more rounds of percent-decoding. */
function hidesUserInfo(text: Uint8Array): boolean {
  if (!mayHideAt(text)) return false;
  for (const plain of decodedRounds(text)) if (hasUserInfo(plain)) return true;
  return false;
}

/** Whether a text has user info, plain or encoded. */
export function holdsUserInfo(text: Uint8Array): boolean {
  return hasUserInfo(text) || hidesUserInfo(text);
}

/** User info of URLs in a field of a query or form. */
interface FieldUserInfo {
  /** Ranges of plain user info. */
  readonly plain: readonly TextRange[];
  /** Whether there is more: encoded, or beyond the number of reported ranges. */
  readonly more: boolean;
}

/** @param field the text between two `&` */
export function fieldUserInfo(field: Uint8Array): FieldUserInfo {
  const plain = userInfoIn(field, false, REPORTED_RANGES);
  if (plain.length === 0) return { plain, more: hidesUserInfo(field) };
  if (plain.length === REPORTED_RANGES) return { plain, more: true };
  // Plain ranges would be found again after decoding, so only the text between them is searched.
  const ends = [0, ...plain.map(([, to]) => to)];
  const rest = Buffer.concat(ends.map((end, nth) => field.subarray(end, plain[nth]?.[0])));
  return { plain, more: hidesUserInfo(rest) };
}

/** Whether a field's name must be masked completely: it has an encoded URL with user info, or too many. */
export function hidesInName(name: Uint8Array): boolean {
  return hidesUserInfo(name) || fieldUserInfo(name).more;
}

/** Records an authority's user info; returns the end of the authority. */
function authorityFrom(text: Uint8Array, from: number, inQuery: boolean, found: TextRange[]): number {
  let sign = from;
  let end = from;
  for (; end < text.length; end += 1) {
    const code = text[end] as number;
    if (code === SLASH || code === QUESTION || code === HASH || code <= SPACE) break;
    // A password may contain an ampersand, but within a query the ampersand ends the field.
    if (code === AMPERSAND && inQuery) break;
    if (code === AT) sign = end;
  }
  if (sign > from) found.push([from, sign]);
  return end;
}

function hasUserInfo(text: Uint8Array): boolean {
  return userInfoIn(text, false, 1).length > 0;
}

/** Whether a text may contain an `@` after decoding. Few do, and only those are decoded. */
function mayHideAt(text: Uint8Array): boolean {
  const first = text.indexOf(PERCENT);
  if (first < 0) return false;
  if (text.includes(AT)) return true;
  for (let at = first; at < text.length; at += 1) {
    const byte = encodedByte(text, at);
    if (byte !== null && WRITES_AT[byte] === 1) return true;
  }
  return false;
}
