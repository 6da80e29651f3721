import { decodedRounds, encodedByte } from './percent-encoding.ts';

/** From the first character to after the last. */
export type TextRange = readonly [from: number, to: number];

const SPACE = 0x20;
const HASH = 0x23;
const PERCENT = 0x25;
const AMPERSAND = 0x26;
const SLASH = 0x2f;
const LESS = 0x3c;
const QUESTION = 0x3f;
const AT = 0x40;

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
export function userInfoIn(
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
export function hidesUserInfo(text: Uint8Array): boolean {
  if (!mayHideAt(text)) return false;
  for (const plain of decodedRounds(text)) if (hasUserInfo(plain)) return true;
  return false;
}

/** Whether a text has user info, as it stands or encoded. */
export function holdsUserInfo(text: Uint8Array): boolean {
  return hasUserInfo(text) || hidesUserInfo(text);
}

/** The user info of URLs in a field of a query or form. */
export interface FieldUserInfo {
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
