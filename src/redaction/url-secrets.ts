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
  readonly text: string;
  readonly from: number;
  readonly to: number;
  /** End of its path: the first `?` or `#`, or the end of the text. */
  readonly query: number;
  /** The lower-case name of its header; null for a request's target. */
  readonly header: string | null;
  /** The character that ends a value, besides `&` and `#`. */
  readonly closing: number;
}

const USER_INFO = '@';

const HASH = 0x23;
const PERCENT = 0x25;
const AMPERSAND = 0x26;
const SLASH = 0x2f;
const SEMICOLON = 0x3b;
const LESS = 0x3c;
const EQUALS = 0x3d;
const GREATER = 0x3e;
const QUESTION = 0x3f;
const AT = 0x40;

const NOTHING = -1;

const WIDE = /[\u0100-\uffff]/g;

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
  find(text: string, from: number, to: number, header: string | null, hiding: Hiding): void {
    // In a list, each URL has angle brackets. Elsewhere `>` is an ordinary character that clients send
    // unencoded.
    const listed = header !== null && text.charCodeAt(from) === LESS;
    const query = queryOf(text, from, to);
    const url = { text, from, to, query, header, closing: listed ? GREATER : NOTHING };
    if (mayHoldUserInfo(text, from, to)) this.#findUserInfo(url, hiding);
    this.#findValues(url, hiding);
  }

  /** For the value of any other header: only the user info of URLs. */
  findUserInfo(text: string, from: number, to: number, header: string, hiding: Hiding): void {
    if (indexWithin(text, AT, from, to) < 0) return;
    for (const [start, end] of userInfoIn(bytesOf(text, from, to), false)) {
      hiding.mask(from + start, from + end, header);
    }
  }

  #findUserInfo(url: UrlPlace, hiding: Hiding): void {
    const { text, from, to, query, header, closing } = url;
    const name = header ?? USER_INFO;
    // In a header another URL may follow the query of the first.
    for (const [start, end] of userInfoIn(bytesOf(text, from, header === null ? query : to), true)) {
      hiding.mask(from + start, from + end, name);
    }
    if (indexWithin(text, PERCENT, from, query) >= 0) {
      for (let start = from; start < query; ) {
        const end = indexOr(text, SLASH, start, query);
        if (hidesUserInfo(bytesOf(text, start, end))) hiding.mask(start, end, name);
        start = end + 1;
      }
    }
    for (let start = query + 1; start < to; ) {
      const end = valueEnd(text, start, to, closing);
      findInField(text, start, end, header, hiding);
      start = end + 1;
    }
  }

  /**
   * A key may follow any of `? & ; #`, but a value ends only at `&` and `#`. This covers every way in which
   * servers split.
   */
  #findValues({ text, from, to, query, header, closing }: UrlPlace, hiding: Hiding): void {
    let at = nextDelimiter(text, from, to);
    while (at < to) {
      const inPath = at < query;
      const start = at + 1;
      const next = nextDelimiter(text, start, to);
      const equals = indexWithin(text, EQUALS, start, next);
      const key = equals < 0 ? '' : text.slice(start, equals);
      const value = equals < 0 ? start : equals + 1;
      const treatment = this.#treatmentOf(key, text, value, next);
      at = next;
      if (treatment === 'keep') continue;
      const end =
        treatment === 'hash' && inPath
          ? parameterEnd(text, value, query)
          : valueEnd(text, value, to, closing);
      if (treatment === 'hash') hiding.hash(value, end);
      else hiding.mask(value, end, header ?? noteOf(key));
      at = nextDelimiter(text, end, to);
    }
  }

  #treatmentOf(key: string, text: string, from: number, to: number): NameTreatment {
    const named = this.#names.queryKey(key);
    if (named !== 'keep' || indexWithin(text, PERCENT, from, to) < 0) return named;
    return this.#names.hiddenIn(bytesOf(text, from, to));
  }
}

/**
 * User info between two `&`. If the key's value is an encoded URL with user info, it is masked completely.
 */
function findInField(text: string, from: number, to: number, header: string | null, hiding: Hiding): void {
  if (!mayHoldUserInfo(text, from, to)) return;
  const { plain, more } = fieldUserInfo(bytesOf(text, from, to));
  if (plain.length === 0 && !more) return;
  const equals = indexWithin(text, EQUALS, from, to);
  const key = text.slice(from, Math.max(equals, from));
  const name = header ?? (equals < 0 ? USER_INFO : noteOf(key));
  for (const [start, end] of plain) hiding.mask(from + start, from + end, name);
  if (more) hiding.mask(equals < 0 || hidesInName(bytesOf(key)) ? from : equals + 1, to, name);
}

/** The name to note: the key, unless it contains a secret itself. */
function noteOf(key: string): string {
  return holdsUserInfo(bytesOf(key)) ? USER_INFO : `?${key.toLowerCase()}`;
}

/**
 * One byte per character. Wide characters belong to no URL grammar and become a byte that does not either.
 */
function bytesOf(text: string, from = 0, to = text.length): Buffer {
  return Buffer.from(text.slice(from, to).replace(WIDE, '\xff'), 'latin1');
}

function mayHoldUserInfo(text: string, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) {
    const code = text.charCodeAt(at);
    if (code === AT || code === PERCENT) return true;
  }
  return false;
}

/**
 * Position of `code` in `text[from, to)`, or -1. Never searches beyond `to`, so many short lines stay cheap.
 */
export function indexWithin(text: string, code: number, from: number, to: number): number {
  for (let at = from; at < to; at += 1) if (text.charCodeAt(at) === code) return at;
  return NOTHING;
}

function indexOr(text: string, code: number, from: number, to: number): number {
  const found = indexWithin(text, code, from, to);
  return found < 0 ? to : found;
}

function queryOf(text: string, from: number, to: number): number {
  for (let at = from; at < to; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUESTION || code === HASH) return at;
  }
  return to;
}

function nextDelimiter(text: string, from: number, to: number): number {
  for (let at = from; at < to; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUESTION || code === AMPERSAND || code === SEMICOLON || code === HASH) return at;
  }
  return to;
}

function valueEnd(text: string, from: number, to: number, closing: number): number {
  for (let at = from; at < to; at += 1) {
    const code = text.charCodeAt(at);
    if (code === AMPERSAND || code === HASH || code === closing) return at;
  }
  return to;
}

/** End of a path parameter (`/a;sid=1/b`). */
function parameterEnd(text: string, from: number, to: number): number {
  for (let at = from; at < to; at += 1) {
    const code = text.charCodeAt(at);
    if (code === SLASH || code === SEMICOLON) return at;
  }
  return to;
}

/** From the first character to after the last. */
export type TextRange = readonly [from: number, to: number];

const SPACE = 0x20;

const NONE: readonly TextRange[] = Object.freeze([]);

/** Bytes that encode an `@` under any number of encodings. */
const WRITES_AT: ReadonlySet<number> = new Set(Buffer.from('@%02345', 'latin1'));

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
    if (byte !== null && WRITES_AT.has(byte)) return true;
  }
  return false;
}
