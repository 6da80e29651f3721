import { decodedRounds } from './percent-encoding.ts';

/** From the first character to after the last. */
export type TextRange = readonly [from: number, to: number];

const SPACE = 0x20;
const HASH = 0x23;
const AMPERSAND = 0x26;
const SLASH = 0x2f;
const LESS = 0x3c;
const QUESTION = 0x3f;
const AT = 0x40;

const NONE: readonly TextRange[] = Object.freeze([]);

/** An `@` or its code, encoded any number of times: without one there is no user info under an encoding. */
const MAYBE_AT = /@|%(?:25)*40/;

/**
 * Where user info (`user:password` in `//user:password@host`) stands in a text of any kind, URLs and lists of them
 * included. What stands before an `@` elsewhere, in a path or in an e-mail address, is none.
 * @param bare whether the text itself may begin with an authority (`user:password@host:443`)
 */
export function userInfoIn(text: string, from: number, to: number, bare: boolean): readonly TextRange[] {
  if (!hasAt(text, from, to)) return NONE;
  const found: TextRange[] = [];
  let inQuery = false;
  let at = bare ? authorityFrom(text, from, to, inQuery, found) : from;
  while (at < to) {
    const code = text.charCodeAt(at);
    if (code === SLASH && text.charCodeAt(at + 1) === SLASH && at + 1 < to) {
      at = authorityFrom(text, at + 2, to, inQuery, found);
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
export function hidesUserInfo(text: string): boolean {
  if (!text.includes('%') || !MAYBE_AT.test(text)) return false;
  for (const plain of decodedRounds(text))
    if (userInfoIn(plain, 0, plain.length, false).length > 0) return true;
  return false;
}

/** Whether a text has user info, as it stands or encoded. */
export function holdsUserInfo(text: string): boolean {
  return userInfoIn(text, 0, text.length, false).length > 0 || hidesUserInfo(text);
}

/** The user info of URLs in a field of a query or form. */
export interface FieldUserInfo {
  /** Where it stands as it is. */
  readonly plain: readonly TextRange[];
  /** Whether there is more once the field's encoding is taken off. */
  readonly hidden: boolean;
}

/** @param field what stands between two `&` */
export function fieldUserInfo(field: string): FieldUserInfo {
  const plain = userInfoIn(field, 0, field.length, false);
  if (plain.length === 0) return { plain, hidden: hidesUserInfo(field) };
  // What stands there as it is would be found again without the encoding of what is around it.
  const ends = [0, ...plain.map(([, to]) => to)];
  const rest = ends.map((end, nth) => field.slice(end, plain[nth]?.[0])).join('');
  return { plain, hidden: hidesUserInfo(rest) };
}

/** Takes note of an authority's user info; answers where the authority ends. */
function authorityFrom(text: string, from: number, to: number, inQuery: boolean, found: TextRange[]): number {
  let sign = from;
  let end = from;
  for (; end < to; end += 1) {
    const code = text.charCodeAt(end);
    if (code === SLASH || code === QUESTION || code === HASH || code <= SPACE) break;
    // A password may have an ampersand, but not where the query around it would be divided there.
    if (code === AMPERSAND && inQuery) break;
    if (code === AT) sign = end;
  }
  if (sign > from) found.push([from, sign]);
  return end;
}

function hasAt(text: string, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) if (text.charCodeAt(at) === AT) return true;
  return false;
}
