import { decodedRounds, encodedByte } from '../core/text.ts';
import type { NameTreatment, SecretNames } from './secret-names.ts';

/** Takes the places that are not stored as they came. */
export interface Hiding {
  /** @param name what it is noted as beside the message */
  mask(from: number, to: number, name: string): void;
  /** Of a session key: a hash takes its place. */
  hash(from: number, to: number): void;
}

/** A URL, or what holds some, in a longer text. */
interface UrlPlace {
  readonly text: string;
  readonly from: number;
  readonly to: number;
  /** Where its path ends: at the first `?` or `#`, or with the text. */
  readonly query: number;
  /** The lower-case name of the header it is the value of; null for a request's target. */
  readonly header: string | null;
  /** What ends a value beside `&` and `#`. */
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
 * Finds what a URL must not be stored with: user info, its own and that of URLs within it, and the values of keys by
 * their names. Reads on the side of finding too much: docs/adr/0008-redaction-default.md. Takes time linear in any
 * text.
 */
export class UrlSecrets {
  readonly #names: SecretNames;

  constructor(names: SecretNames) {
    this.#names = names;
  }

  /** @param header the lower-case name of the header whose value it is; null for a request's target */
  find(text: string, from: number, to: number, header: string | null, hiding: Hiding): void {
    // A list of URLs has each in angle brackets. Elsewhere `>` is a character, and clients send it as it is.
    const listed = header !== null && text.charCodeAt(from) === LESS;
    const query = queryOf(text, from, to);
    const url = { text, from, to, query, header, closing: listed ? GREATER : NOTHING };
    if (mayHoldUserInfo(text, from, to)) this.#findUserInfo(url, hiding);
    this.#findValues(url, hiding);
  }

  /** In the value of a header that may be anything: the user info of a URL in it, and nothing else. */
  findUserInfo(text: string, from: number, to: number, header: string, hiding: Hiding): void {
    if (indexWithin(text, AT, from, to) < 0) return;
    for (const [start, end] of userInfoIn(bytesOf(text, from, to), false)) {
      hiding.mask(from + start, from + end, header);
    }
  }

  #findUserInfo(url: UrlPlace, hiding: Hiding): void {
    const { text, from, to, query, header, closing } = url;
    const name = header ?? USER_INFO;
    // In a header another URL may follow the first one's query.
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

  /** A key may follow any of `? & ; #`, a value ends at `&` and `#` only: whichever way a server splits. */
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

/** User info in what stands between two `&`: the key's value is masked whole where it is an encoded URL. */
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

/** What a value is noted as: its key, unless that holds a secret itself. */
function noteOf(key: string): string {
  return holdsUserInfo(bytesOf(key)) ? USER_INFO : `?${key.toLowerCase()}`;
}

/** A byte for each character; what none can hold is no part of any URL's grammar, and becomes one that is not either. */
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

/** Position of `code` in `text[from, to)`, or -1. Never looks past `to`, so that many short lines stay cheap. */
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

/** Where a parameter of the path ends (`/a;sid=1/b`). */
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

/** What an `@` is written with under an encoding, under any number of them. */
const WRITES_AT: ReadonlySet<number> = new Set(Buffer.from('@%02345', 'latin1'));

/** Places in a field that are told one by one: a client may send a million. */
const TOLD_PLACES = 64;

/**
 * Where user info (`user:password` in `//user:password@host`) stands in a text of any kind, URLs and lists of them
 * included. What stands before an `@` elsewhere, in a path or in an e-mail address, is none. Texts are bytes here: a
 * body's are megabytes.
 * @param bare whether the text itself may begin with an authority (`user:password@host:443`)
 * @param most how many places are looked for
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
    // White space or an angle bracket ends a URL in a list, and its query with it.
    if (code === QUESTION || code === HASH) inQuery = true;
    else if (code <= SPACE || code === LESS) inQuery = false;
    at += 1;
  }
  return found;
}

/** Whether a text has user info once its percent-encoding is taken off, once or several times. */
function hidesUserInfo(text: Uint8Array): boolean {
  if (!mayHideAt(text)) return false;
  for (const plain of decodedRounds(text)) if (hasUserInfo(plain)) return true;
  return false;
}

/** Whether a text has user info, as it stands or encoded. */
export function holdsUserInfo(text: Uint8Array): boolean {
  return hasUserInfo(text) || hidesUserInfo(text);
}

/** The user info of URLs in a field of a query or form. */
interface FieldUserInfo {
  /** Where it stands as it is. */
  readonly plain: readonly TextRange[];
  /** Whether there is more: once the field's encoding is taken off, or than is told one by one. */
  readonly more: boolean;
}

/** @param field what stands between two `&` */
export function fieldUserInfo(field: Uint8Array): FieldUserInfo {
  const plain = userInfoIn(field, false, TOLD_PLACES);
  if (plain.length === 0) return { plain, more: hidesUserInfo(field) };
  if (plain.length === TOLD_PLACES) return { plain, more: true };
  // What stands there as it is would be found again without the encoding of what is around it.
  const ends = [0, ...plain.map(([, to]) => to)];
  const rest = Buffer.concat(ends.map((end, nth) => field.subarray(end, plain[nth]?.[0])));
  return { plain, more: hidesUserInfo(rest) };
}

/** Whether a field's name cannot stay, its places of user info covered or not: a URL under an encoding, or too many. */
export function hidesInName(name: Uint8Array): boolean {
  return hidesUserInfo(name) || fieldUserInfo(name).more;
}

/** Takes note of an authority's user info; answers where the authority ends. */
function authorityFrom(text: Uint8Array, from: number, inQuery: boolean, found: TextRange[]): number {
  let sign = from;
  let end = from;
  for (; end < text.length; end += 1) {
    const code = text[end] as number;
    if (code === SLASH || code === QUESTION || code === HASH || code <= SPACE) break;
    // A password may have an ampersand, but not where the query around it would be divided there.
    if (code === AMPERSAND && inQuery) break;
    if (code === AT) sign = end;
  }
  if (sign > from) found.push([from, sign]);
  return end;
}

function hasUserInfo(text: Uint8Array): boolean {
  return userInfoIn(text, false, 1).length > 0;
}

/** Whether a text may have an `@` once decoded: few may, and only those are decoded. */
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
