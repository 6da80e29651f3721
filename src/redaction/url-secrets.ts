import { ASCII, type ByteSet, byteSet, seek } from '../core/ascii.ts';
import { decodedRounds, encodedByte } from '../core/text.ts';
import { NameAllowance, type NameTreatment, type SecretNames } from './secret-names.ts';

/** Receives the ranges that are not stored unchanged. */
export interface Hiding {
  /** @param name the name noted beside the message */
  mask(from: number, to: number, name: string): void;
  /** Replaces a session key by its hash. */
  hash(from: number, to: number): void;
}

/** A URL, or a text with URLs, within a longer text. */
interface UrlText {
  readonly text: Uint8Array;
  readonly from: number;
  readonly to: number;
  /** The lower-case name of its header; null for a request's target. */
  readonly header: string | null;
  /** Whether it may begin with an authority (`user:password@host:443`). */
  readonly bare: boolean;
}

/** A `UrlText` while it is examined. */
interface UrlPlace extends UrlText {
  /** End of its path: the first `?` or `#`, or the end of the text. */
  readonly query: number;
  readonly valueEnds: ByteSet;
  /** How many names of keys may still be examined. Values beyond that are masked. */
  readonly allowance: NameAllowance;
}

const USER_INFO = '@';
/** Stands for the header's name if the text is not from a header. */
const TEXT_URL = '';
const SLASHES = Buffer.from('/', 'latin1');

const { HASH, AMPERSAND, SLASH, BACKSLASH, SPACE, LESS, QUESTION, AT, PERCENT } = ASCII;
/** The beginning of a text that is one URL up to its end, including blanks. */
const URL_BEGINNING = /^\s*(?:[a-z][a-z0-9+.-]{0,30}:)?(?:[/\\]|%(?:25)*(?:2f|5c))/i;
const BEGINNING_BYTES = 64;
const EQUALS = byteSet('=');
const USER_INFO_SIGNS = byteSet('@%');
const CODE = byteSet('%');
const SEGMENT_END = byteSet('/');
const QUERY_START = byteSet('?#');
const URL_SIGNS = byteSet('/\\?%');
const SECRET_SIGNS = byteSet('@=%');
const BLANKS = byteSet(' \t\r\n');
/** What may precede a key. */
const KEY_STARTS = byteSet('?&;#');
const VALUE_ENDS = byteSet('&#');
/** In a list, each URL has angle brackets. */
const LISTED_VALUE_ENDS = byteSet('&#>');
/** Ends of a path parameter (`/a;sid=1/b`). */
const PARAMETER_ENDS = byteSet('/;');

/**
 * Finds the secrets of a URL: user info, also of URLs within it, and values of secret keys. In doubt it reports a
 * secret: see docs/adr/0008-redaction-default.md. Takes linear time for any text.
 */
export class UrlSecrets {
  readonly #names: SecretNames;

  constructor(names: SecretNames) {
    this.#names = names;
  }

  /** @param allowance shared by all texts of a body; beyond it, every value is masked */
  find(place: UrlText, hiding: Hiding, allowance: NameAllowance = new NameAllowance()): void {
    const { text, from, to, header } = place;
    // Outside of lists `>` is an ordinary character that clients send unencoded.
    const listed = header !== null && text[from] === LESS;
    const query = seek(text, from, to, QUERY_START);
    const url = { ...place, query, valueEnds: listed ? LISTED_VALUE_ENDS : VALUE_ENDS, allowance };
    if (holdsAny(text, from, to, USER_INFO_SIGNS)) this.#findUserInfo(url, hiding);
    if (holdsAny(text, from, query, CODE)) this.#findEncoded(url, hiding);
    this.#findValues(url, hiding);
  }

  /**
   * The same for a text that may be a URL or hold some, such as a string of JSON. A text that begins like a URL is
   * treated as one URL. In any other text, each part between blanks is.
   */
  findInText(text: Uint8Array, from: number, to: number, allowance: NameAllowance, hiding: Hiding): void {
    if (!holdsAny(text, from, to, SECRET_SIGNS) || !holdsAny(text, from, to, URL_SIGNS)) return;
    const whole = URL_BEGINNING.test(latin1(text, from, Math.min(to, from + BEGINNING_BYTES)));
    for (let start = from; start < to; ) {
      const end = whole ? to : seek(text, start, to, BLANKS);
      if (holdsAny(text, start, end, URL_SIGNS))
        this.find({ text, from: start, to: end, header: TEXT_URL, bare: false }, hiding, allowance);
      start = end + 1;
    }
  }

  #findUserInfo(url: UrlPlace, hiding: Hiding): void {
    const { text, from, to, query, header, bare, valueEnds } = url;
    const name = header ?? USER_INFO;
    // In a header another URL may follow the query of the first.
    const plain = userInfoIn(text.subarray(from, header === null ? query : to), bare, REPORTED_RANGES);
    if (plain.length === REPORTED_RANGES) hiding.mask(from, to, name);
    else for (const [start, end] of plain) hiding.mask(from + start, from + end, name);
    for (let start = query + 1; start < to; ) {
      const end = seek(text, start, to, valueEnds);
      findInField(text, start, end, header, hiding);
      start = end + 1;
    }
  }

  /** Finds percent-encoded URLs. A segment of the path with a secret is masked completely. */
  #findEncoded({ text, from, query, header, allowance }: UrlPlace, hiding: Hiding): void {
    const name = header ?? USER_INFO;
    const open: Uint8Array[] = [];
    let coded = query;
    for (let start = from; start < query; ) {
      const end = seek(text, start, query, SEGMENT_END);
      const segment = text.subarray(start, end);
      const treatment = hidesUserInfo(segment) ? 'mask' : this.#names.hiddenIn(segment, allowance);
      if (treatment === 'mask') hiding.mask(start, end, name);
      else if (treatment === 'hash') hiding.hash(start, end);
      else {
        open.push(segment);
        if (segment.includes(PERCENT)) coded = Math.min(coded, start);
      }
      start = end + 1;
    }
    // If only some slashes or signs of a URL are encoded, it spans several segments.
    if (coded < query && hidesUserInfo(joined(open))) hiding.mask(coded, query, name);
  }

  /**
   * A key may follow any of `? & ; #`, but a value ends only at `&` and `#`. This covers every way in which
   * servers split.
   */
  #findValues(url: UrlPlace, hiding: Hiding): void {
    const { text, from, to, query, header, valueEnds, allowance } = url;
    let at = seek(text, from, to, KEY_STARTS);
    while (at < to) {
      const inPath = at < query;
      const start = at + 1;
      const next = seek(text, start, to, KEY_STARTS);
      const equals = seek(text, start, next, EQUALS);
      const key = equals === next ? '' : latin1(text, start, equals);
      const value = equals === next ? start : equals + 1;
      const inKey = key !== '' && this.#names.hiddenIn(text.subarray(start, equals), allowance) === 'mask';
      const treatment = inKey ? 'mask' : this.#treatmentOf(key, text.subarray(value, next), allowance);
      at = next;
      if (treatment === 'keep') continue;
      const isParameter = treatment === 'hash' && inPath;
      const end = isParameter ? seek(text, value, query, PARAMETER_ENDS) : seek(text, value, to, valueEnds);
      if (treatment === 'hash') hiding.hash(value, end);
      else if (inKey) hiding.mask(start, end, header ?? noteOf(''));
      else hiding.mask(value, end, header ?? noteOf(key));
      at = seek(text, end, to, KEY_STARTS);
    }
  }

  #treatmentOf(key: string, value: Uint8Array, allowance: NameAllowance): NameTreatment {
    if (key !== '' && !allowance.take()) return 'mask';
    const named = this.#names.queryKey(key);
    return named === 'keep' ? this.#names.hiddenIn(value, allowance) : named;
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

/** The segments of a path, joined again. */
function joined(segments: readonly Uint8Array[]): Buffer {
  return Buffer.concat(segments.flatMap((segment) => [segment, SLASHES]));
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
    if (isSlash(code)) {
      const end = slashesEnd(text, at);
      at = beginsAuthority(text, at, end) ? authorityFrom(text, end, inQuery, found) : end;
      continue;
    }
    // White space or an angle bracket ends a URL in a list and its query.
    if (code === QUESTION || code === HASH) inQuery = true;
    else if (code <= SPACE || code === LESS) inQuery = false;
    at += 1;
  }
  return found;
}

/** Clients read a backslash in a URL as a slash. */
function isSlash(code: number | undefined): boolean {
  return code === SLASH || code === BACKSLASH;
}

function slashesEnd(text: Uint8Array, from: number): number {
  let end = from + 1;
  while (isSlash(text[end])) end += 1;
  return end;
}

/** Schemes after which clients take any number of slashes for two. */
const WEB_SCHEME = /(?:https?|wss?|ftp):$/i;
const SCHEME_BYTES = 6;
const FILE_SCHEME = /file:$/i;

/** Whether an authority follows these slashes. `file:///` has none. */
function beginsAuthority(text: Uint8Array, from: number, to: number): boolean {
  const scheme = latin1(text, Math.max(0, from - SCHEME_BYTES), from);
  return to - from === 1 ? WEB_SCHEME.test(scheme) : !(to - from === 3 && FILE_SCHEME.test(scheme));
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
