import { ASCII } from './ascii.ts';
import { AppError } from './errors.ts';

/**
 * Finds single values in JSON text, complete or truncated, without parsing it. The cost depends only on what
 * precedes the value. Positions are those of a value's first byte. -1 means absent, or not before the end of
 * truncated text. For invalid JSON the result is undefined, but the work is bounded by its length.
 */
const { QUOTE, COMMA, COLON, OPEN_BRACKET, BACKSLASH, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE, SPACE } = ASCII;

/** Most strings end within this many bytes. Reading those directly is faster than starting a search. */
const NEAR_BYTES = 24;

/** Position of the first value at or after `at`. */
export function jsonStart(text: Uint8Array, at = 0): number {
  const from = text[at] === 0xef && text[at + 1] === 0xbb && text[at + 2] === 0xbf ? at + 3 : at;
  const start = skipBlanks(text, from);
  return start < text.length ? start : -1;
}

export function isJsonObject(text: Uint8Array, at: number): boolean {
  return at >= 0 && text[at] === OPEN_BRACE;
}

export function isJsonArray(text: Uint8Array, at: number): boolean {
  return at >= 0 && text[at] === OPEN_BRACKET;
}

export function isJsonString(text: Uint8Array, at: number): boolean {
  return at >= 0 && text[at] === QUOTE;
}

/** The value under `key` of the object at `at`; -1 if that is no object. Escaped keys are not recognised. */
export function jsonMember(text: Uint8Array, at: number, key: string): number {
  return isJsonObject(text, at) ? memberFrom(text, at + 1, key) : -1;
}

/** The next value under the same key after the one at `at`, for objects with repeated keys. */
export function jsonMemberAgain(text: Uint8Array, at: number, key: string): number {
  const end = afterValue(text, at);
  if (end < 0) return -1;
  const next = skipBlanks(text, end);
  return text[next] === COMMA ? memberFrom(text, next + 1, key) : -1;
}

/** The last value under `key`, as a parser returns for repeated keys. Reads to the object's end. */
export function jsonLastMember(text: Uint8Array, at: number, key: string): number {
  let last = jsonMember(text, at, key);
  for (let next = last; next >= 0; next = jsonMemberAgain(text, next, key)) last = next;
  return last;
}

function memberFrom(text: Uint8Array, at: number, key: string): number {
  let next = skipBlanks(text, at);
  while (text[next] === QUOTE) {
    const keyEnd = stringEnd(text, next);
    if (keyEnd < 0) return -1;
    const found = sameText(text, next + 1, keyEnd - 1, key);
    next = skipBlanks(text, keyEnd);
    if (text[next] !== COLON) return -1;
    next = skipBlanks(text, next + 1);
    if (next >= text.length) return -1;
    if (found) return next;
    next = afterValue(text, next);
    if (next < 0) return -1;
    next = skipBlanks(text, next);
    if (text[next] !== COMMA) return -1;
    next = skipBlanks(text, next + 1);
  }
  return -1;
}

export function jsonElement(text: Uint8Array, at: number, index: number): number {
  if (!isJsonArray(text, at)) return -1;
  let next = skipBlanks(text, at + 1);
  for (let passed = 0; next < text.length && text[next] !== CLOSE_BRACKET; passed += 1) {
    if (passed === index) return next;
    next = afterElement(text, next);
    if (next < 0) return -1;
  }
  return -1;
}

/** The element after the one at `at`; -1 if that was the last or the text is truncated. */
export function jsonAfterElement(text: Uint8Array, at: number): number {
  const next = at < 0 ? -1 : afterElement(text, at);
  return next < 0 || next >= text.length || text[next] === CLOSE_BRACKET ? -1 : next;
}

/** Number of elements of the array at `at`; -1 if it is no array or truncated. */
export function jsonLength(text: Uint8Array, at: number): number {
  if (!isJsonArray(text, at)) return -1;
  let next = skipBlanks(text, at + 1);
  let length = 0;
  while (text[next] !== CLOSE_BRACKET) {
    next = afterElement(text, next);
    if (next < 0 || next >= text.length) return -1;
    length += 1;
  }
  return length;
}

/** The string at `at`, decoded; null if it is no string or truncated. */
export function jsonText(text: Uint8Array, at: number): string | null {
  const end = isJsonString(text, at) ? stringEnd(text, at) : -1;
  if (end < 0) return null;
  try {
    const value: unknown = JSON.parse(asBuffer(text).toString('utf8', at, end));
    return typeof value === 'string' ? value : null;
  } catch {
    // A control character or a bad escape: invalid JSON.
    return null;
  }
}

/** The number at `at`; null if it is no number or may be truncated. */
export function jsonNumber(text: Uint8Array, at: number): number | null {
  const literal = jsonNumberLiteral(text, at);
  return literal === null ? null : Number(literal);
}

/** The same as written: 64-bit integers exceed the range of a JavaScript number. */
export function jsonNumberLiteral(text: Uint8Array, at: number): string | null {
  if (at < 0) return null;
  const end = scalarEnd(text, at);
  if (end >= text.length || end - at > 32) return null;
  const literal = asBuffer(text).toString('latin1', at, end);
  return /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(literal) ? literal : null;
}

export function jsonTrue(text: Uint8Array, at: number): boolean {
  return at >= 0 && asBuffer(text).toString('latin1', at, at + 4) === 'true';
}

/** Position after the value at `at`. -1 if it is truncated, or is a bare number at the end of the text. */
export function jsonEnd(text: Uint8Array, at: number): number {
  return at < 0 ? -1 : afterValue(text, at);
}

/** Position after an element and its comma, if any; -1 if the text is truncated or invalid. */
function afterElement(text: Uint8Array, at: number): number {
  const end = afterValue(text, at);
  if (end < 0) return -1;
  const next = skipBlanks(text, end);
  if (text[next] === COMMA) return skipBlanks(text, next + 1);
  return text[next] === CLOSE_BRACKET ? next : -1;
}

function afterValue(text: Uint8Array, at: number): number {
  const first = text[at];
  if (first === QUOTE) return stringEnd(text, at);
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    const end = scalarEnd(text, at);
    return end === at || end >= text.length ? -1 : end;
  }
  let depth = 0;
  let next = at;
  while (next < text.length) {
    const byte = text[next] as number;
    if (byte === QUOTE) {
      next = stringEnd(text, next);
      if (next < 0) return -1;
      continue;
    }
    next += 1;
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth += 1;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      depth -= 1;
      if (depth === 0) return next;
    }
  }
  return -1;
}

/** Position after the closing quote of the string that opens at `at`. */
function stringEnd(text: Uint8Array, at: number): number {
  const near = Math.min(text.length, at + 1 + NEAR_BYTES);
  let next = at + 1;
  while (next < near) {
    const byte = text[next];
    if (byte === QUOTE) return next + 1;
    next += byte === BACKSLASH ? 2 : 1;
  }
  // Long texts are most of a prompt's bytes: search from quote to quote at memory speed.
  for (let quote = text.indexOf(QUOTE, next); quote >= 0; quote = text.indexOf(QUOTE, quote + 1)) {
    let slashes = quote;
    while (slashes > next && text[slashes - 1] === BACKSLASH) slashes -= 1;
    if ((quote - slashes) % 2 === 0) return quote + 1;
  }
  return -1;
}

function scalarEnd(text: Uint8Array, at: number): number {
  let next = at;
  while (next < text.length) {
    const byte = text[next] as number;
    if (byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte <= SPACE) break;
    next += 1;
  }
  return next;
}

function skipBlanks(text: Uint8Array, at: number): number {
  let next = at;
  while (next < text.length && (text[next] as number) <= SPACE) next += 1;
  return next;
}

function sameText(text: Uint8Array, from: number, to: number, key: string): boolean {
  if (to - from !== key.length) return false;
  for (let at = 0; at < key.length; at += 1) if (text[from + at] !== key.charCodeAt(at)) return false;
  return true;
}

/** The same memory as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Matches any member of an object or element of an array. */
export const ANY_MEMBER = Symbol('any member');

/** One step of a pointer: a member name or an element index as text, or any. */
export type PointerStep = string | typeof ANY_MEMBER;

/** Deeper than any payload that model servers accept. */
const MAX_STEPS = 32;

/**
 * Reads a JSON pointer (RFC 6901) in which a step `*` matches any member or element. The empty pointer means
 * the whole document.
 * @param what the flag, for the error message
 * @throws AppError OPTION_INVALID
 */
export function parseJsonPointer(text: string, what?: string): readonly PointerStep[] {
  const invalid = (pointer: string, problem: string, hint?: string) => {
    const message = `${what === undefined ? '' : `${what}: `}JSON pointer ${JSON.stringify(pointer)} ${problem}`;
    return new AppError('OPTION_INVALID', message, hint === undefined ? {} : { hint });
  };
  if (text === '') return [];
  if (!text.startsWith('/')) {
    throw invalid(
      text,
      'does not begin with /',
      `write /${text.replace(/^\$?\.?/, '').replaceAll('.', '/')}`,
    );
  }
  const steps = text.slice(1).split('/');
  if (steps.length > MAX_STEPS) throw invalid(text, `has more than ${MAX_STEPS} steps`);
  return steps.map((step) => {
    if (step === '*') return ANY_MEMBER;
    if (step === '-') throw invalid(text, 'points past the end of an array (-)', 'write * for any element');
    if (/~(?![01])/.test(step)) throw invalid(text, 'has a ~ that is neither ~0 nor ~1', 'write ~0 for ~');
    return step.replaceAll('~1', '/').replaceAll('~0', '~');
  });
}

/** Steps of a JSON pointer to one value. Null for the complete document, and for a pointer to several values. */
export function parseSinglePlace(text: string, what: string): string[] | null {
  const parsed = parseJsonPointer(text, what);
  const steps = parsed.filter((step) => step !== ANY_MEMBER);
  return steps.length > 0 && steps.length === parsed.length ? steps : null;
}
