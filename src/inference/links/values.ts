import { ASCII } from '../../core/ascii.ts';

/**
 * Strings that a server may have issued, and their hashes. This is in the recorder's path, so strings are hashed where
 * they stand in the received bytes: nothing is allocated for one.
 */

/** The shortest and the longest value that is linked. A cookie has at most 4,096 characters. */
export const LEAST_CHARS = 8;
const MOST_CHARS = 4_096;

const DIGIT = 1;
const LOWER = 2;
const UPPER = 4;
/** Marks that join the words of one id, and marks between different things. */
const JOINT = 8;
const MARK = 16;
/** At which marks values are split into parts that a client knows too. */
export const PARTS = [MARK, MARK | JOINT] as const;
/** What a byte is; 0 for those that no issued value has, such as white space, quotes and `@`. */
const CLASSES = new Uint8Array(256);
/** Letters in lower case, and digits; 0 for marks. In this form, an id is the same in whatever way it is spelled. */
const FOLDED = new Uint8Array(256);
for (let code = 0; code < 128; code += 1) {
  const text = String.fromCharCode(code);
  if (/[0-9]/.test(text)) CLASSES[code] = DIGIT;
  else if (/[a-z]/.test(text)) CLASSES[code] = LOWER;
  else if (/[A-Z]/.test(text)) CLASSES[code] = UPPER;
  else if (/[-_]/.test(text)) CLASSES[code] = JOINT;
  else if (/[.:+/=~|%!$*]/.test(text)) CLASSES[code] = MARK;
  if (/[0-9A-Za-z]/.test(text)) FOLDED[code] = text.toLowerCase().charCodeAt(0);
}

const { QUOTE, BACKSLASH, SLASH, ZERO, LOWER_U, COMMA, SPACE, DELETE } = ASCII;
const { OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET } = ASCII;

/** Words of a longer text are not noted: to read prompts of many kilobytes would cost more than all the rest. */
const NOTED_CHARS = 256;
/** Deeper values of JSON are not read. */
const DEPTH = 32;
/** The longest name of a field. */
const NAME_CHARS = 64;
/** A line of a head is known again by its length and so much of its beginning and its end. */
const LINE_START = 16;
const LINE_END = 48;

/**
 * Two halves of a hash of a value's folded form, salted with random numbers of the process, and a short hash of how it is
 * spelled. Two values with one hash cost a link or make a false one, and nothing else.
 */
export class ValueHash {
  readonly #saltLow: number;
  readonly #saltHigh: number;
  low = 0;
  high = 0;
  /** 16 bits. */
  spelling = 0;
  #classes = 0;

  /** @param salts two random numbers of 32 bits */
  constructor(salts: readonly [number, number]) {
    [this.#saltLow, this.#saltHigh] = salts;
  }

  /**
   * Reads on from `at` up to a byte that no issued value has, a mark that ends a part, or `end`. Returns where it stopped.
   * Most of what is read is never hashed.
   */
  read(bytes: Uint8Array, at: number, end: number, stops = 0): number {
    let classes = 0;
    let next = at;
    for (; next < end; next += 1) {
      const known = CLASSES[bytes[next]!]!;
      if (known === 0 || (known & stops) !== 0) break;
      classes |= known;
    }
    this.#classes = classes;
    return next;
  }

  /**
   * Hashes what was just read, if it may be an issued value: long enough, and with digits among letters or with both cases.
   * Returns whether it may.
   */
  take(bytes: Uint8Array, from: number, end: number): boolean {
    if (end - from < LEAST_CHARS || end - from > MOST_CHARS) return false;
    const letters = this.#classes & (LOWER | UPPER);
    if ((this.#classes & DIGIT) === 0 ? letters !== (LOWER | UPPER) : letters === 0) return false;
    this.#begin();
    this.#add(bytes, from, end);
    return true;
  }

  /** Hashes a line, whatever it has. */
  takeLine(bytes: Uint8Array, from: number, end: number): void {
    this.#begin();
    this.low ^= end - from;
    const middle = Math.min(end, from + LINE_START);
    this.#add(bytes, from, middle);
    this.#add(bytes, Math.max(middle, end - LINE_END), end);
  }

  #begin(): void {
    this.low = this.#saltLow;
    this.high = this.#saltHigh;
    this.spelling = 0;
  }

  #add(bytes: Uint8Array, from: number, end: number): void {
    let { low, high, spelling } = this;
    for (let at = from; at < end; at += 1) {
      const byte = bytes[at]!;
      spelling = (Math.imul(spelling, 31) + byte) | 0;
      const folded = FOLDED[byte]!;
      if (folded === 0) continue;
      low = Math.imul(low ^ folded, 0x01000193);
      high = Math.imul(high ^ folded, 0x5bd1e995);
    }
    this.low = low;
    this.high = high;
    this.spelling = (spelling ^ (spelling >>> 16)) & 0xffff;
  }
}

/** Takes a value where it stands; the hash is that of the `ValueHash` in use. */
export type OnValue = (bytes: Buffer, from: number, end: number) => void;

const NOTHING = Buffer.alloc(0);

/** Reads the string values of JSON, complete or cut, and knows where in the document it is. */
export class JsonValues {
  readonly #hash: ValueHash;
  readonly #keyFrom = new Int32Array(DEPTH + 1);
  readonly #keyEnd = new Int32Array(DEPTH + 1);
  /** Of an array; -1 in an object. */
  readonly #index = new Int32Array(DEPTH + 1);
  #depth = 0;
  #bytes: Buffer = NOTHING;

  constructor(hash: ValueHash) {
    this.#hash = hash;
  }

  /**
   * Calls `onValue` for each string value that may be issued, and `onWord` for each such word inside of other texts
   * and each such name of a member.
   * For bytes that are not JSON the result is undefined, and the work is bounded by their number.
   */
  read(bytes: Buffer, onValue: OnValue, onWord: OnValue | null): void {
    this.#bytes = withoutEscapes(bytes);
    this.#read(onValue, onWord);
    this.#bytes = NOTHING;
  }

  #read(onValue: OnValue, onWord: OnValue | null): void {
    const bytes = this.#bytes;
    this.#depth = 0;
    let isKey = false;
    for (let at = 0; at < bytes.length; at += 1) {
      const code = bytes[at]!;
      if (code > CLOSE_BRACE) continue;
      if (code === QUOTE) {
        if (isKey) {
          isKey = false;
          at = this.#key(at + 1, onWord);
        } else if (this.#depth <= DEPTH) at = this.#value(at + 1, onValue, onWord);
        else at = stringEnd(bytes, at + 1);
      } else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
        this.#depth += 1;
        isKey = code === OPEN_BRACE;
        if (this.#depth <= DEPTH) this.#index[this.#depth] = isKey ? -1 : 0;
      } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
        this.#depth -= 1;
        isKey = false;
        if (this.#depth < 0) return;
      } else if (code === COMMA && this.#depth <= DEPTH) {
        if (this.#index[this.#depth]! < 0) isKey = true;
        else this.#index[this.#depth]! += 1;
      }
    }
  }

  /** The place of the current value; null if a member on the way to it has no name but a value, see `isFieldName`. */
  pointer(): string | null {
    let pointer = '';
    for (let depth = 1; depth <= this.#depth; depth += 1) {
      const index = this.#index[depth]!;
      const name = index < 0 ? this.#keyAt(depth) : String(index);
      if (index < 0 && !isFieldName(name)) return null;
      pointer += `/${name}`;
    }
    return pointer;
  }

  /** A number for the place of the current value, the same for the same place and seed. */
  placeHash(withIndexes: boolean, seed = 0): number {
    let low = 0x811c9dc5 ^ seed;
    let high = 0x2b992ddf ^ seed;
    for (let depth = 1; depth <= this.#depth; depth += 1) {
      const index = this.#index[depth]!;
      if (index >= 0) {
        low = Math.imul(low ^ (withIndexes ? index : 0), 0x01000193) ^ 0x2f;
        high = Math.imul(high ^ (withIndexes ? index : 0), 0x5bd1e995) ^ 0x2a;
        continue;
      }
      for (let at = this.#keyFrom[depth]!; at < this.#keyEnd[depth]!; at += 1) {
        low = Math.imul(low ^ this.#bytes[at]!, 0x01000193);
        high = Math.imul(high ^ this.#bytes[at]!, 0x5bd1e995);
      }
      low = Math.imul(low ^ 0x2f, 0x01000193);
      high = Math.imul(high ^ 0x2f, 0x5bd1e995);
    }
    return joined(low, high);
  }

  /** The key that names the current value; that of the array for an element. */
  get key(): string {
    let depth = Math.min(this.#depth, DEPTH);
    while (depth > 0 && this.#index[depth]! >= 0) depth -= 1;
    return depth === 0 ? '' : this.#keyAt(depth);
  }

  /** Whether one of these keys is on the way to the current value. */
  isBelow(keys: ReadonlySet<string>): boolean {
    for (let depth = 1; depth <= this.#depth; depth += 1)
      if (this.#index[depth]! < 0 && keys.has(this.#keyAt(depth))) return true;
    return false;
  }

  /** What stands there, in latin1. Names and values with other characters than ASCII are never linked. */
  text(from: number, end: number): string {
    return this.#bytes.toString('latin1', from, end);
  }

  #keyAt(depth: number): string {
    const raw = this.text(this.#keyFrom[depth]!, this.#keyEnd[depth]!);
    return raw.includes('\\') ? unescaped(raw) : raw;
  }

  #key(from: number, onWord: OnValue | null): number {
    const bytes = this.#bytes;
    let end = this.#hash.read(bytes, from, bytes.length);
    if (bytes[end] !== QUOTE) end = stringEnd(bytes, end);
    else if (onWord !== null && end - from <= NOTED_CHARS && this.#hash.take(bytes, from, end))
      onWord(bytes, from, end);
    if (this.#depth <= DEPTH) {
      this.#keyFrom[this.#depth] = from;
      // Of a longer name the beginning is enough: it is read again for each value below it.
      this.#keyEnd[this.#depth] = Math.min(end, from + NAME_CHARS + 1);
    }
    return end;
  }

  #value(from: number, onValue: OnValue, onWord: OnValue | null): number {
    const bytes = this.#bytes;
    const hash = this.#hash;
    let end = hash.read(bytes, from, Math.min(bytes.length, from + MOST_CHARS));
    if (bytes[end] === QUOTE) {
      if (hash.take(bytes, from, end)) onValue(bytes, from, end);
      return end;
    }
    if (onWord === null) return stringEnd(bytes, end);
    // Words of a text are values that the client knows. In an answer, they are of no interest.
    const most = Math.min(bytes.length, from + NOTED_CHARS);
    for (let at = from; ; ) {
      if (hash.take(bytes, at, end)) onWord(bytes, at, end);
      if (end >= most || bytes[end] === QUOTE) return stringEnd(bytes, end);
      at = end + (bytes[end] === BACKSLASH ? 2 : 1);
      end = hash.read(bytes, at, bytes.length);
    }
  }
}

/** Position of the quote that ends a string, from any position inside of it; the end of cut text. */
function stringEnd(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(QUOTE, from); at >= 0; at = bytes.indexOf(QUOTE, at + 1)) {
    let slashes = at;
    while (slashes > from && bytes[slashes - 1] === BACKSLASH) slashes -= 1;
    if ((at - slashes) % 2 === 0) return at;
  }
  return bytes.length;
}

const ESCAPED_ASCII = Buffer.from(String.raw`\u00`);
const ESCAPED_SLASH = Buffer.from(String.raw`\/`);

/** The same JSON, with characters for escapes that need not be: one value is one row of bytes, whoever wrote it. */
function withoutEscapes(bytes: Buffer): Buffer {
  if (!bytes.includes(BACKSLASH)) return bytes;
  if (!bytes.includes(ESCAPED_ASCII) && !bytes.includes(ESCAPED_SLASH)) return bytes;
  const plain = Buffer.from(bytes);
  let to = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    let code = bytes[at]!;
    if (code === BACKSLASH) {
      const next = bytes[at + 1];
      at += 1;
      if (next === LOWER_U && bytes[at + 1] === ZERO && bytes[at + 2] === ZERO) {
        const escaped = Number.parseInt(bytes.toString('latin1', at + 3, at + 5), 16);
        const mustBe = !(escaped >= SPACE && escaped < DELETE) || escaped === QUOTE || escaped === BACKSLASH;
        if (mustBe) at -= 1;
        else {
          code = escaped;
          at += 4;
        }
      } else if (next === SLASH) code = SLASH;
      else if (next === BACKSLASH) plain[to++] = code;
      else at -= 1;
    }
    plain[to++] = code;
  }
  return plain.subarray(0, to);
}

function unescaped(raw: string): string {
  try {
    return String(JSON.parse(`"${raw}"`));
  } catch {
    // Not JSON after all. The name is only compared and shown.
    return raw;
  }
}

/** Two halves of 32 bits as one whole number of 53 bits. */
export function joined(low: number, high: number): number {
  return (high >>> 0) * 2 ** 21 + (low >>> 11);
}

/** What looks issued but is a date, a time, a number with its unit, a price, a version, an address or a media type. */
const NO_ID = new RegExp(
  [
    String.raw`\d{4}-?\d\d-?\d\d(?:[T_].*)?`,
    String.raw`(?:\d|[-_.:/+TWZ]|[AP]M|GMT|UTC|Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)+`,
    String.raw`[-+]?\d+(?:[.,:]\d+)*[A-Za-z%]{0,4}`,
    String.raw`[A-Z]{3}[\d.,]*\.\d\d`,
    String.raw`[vV]?\d+(?:\.\d+)+(?:[-+.][\w.]+)?`,
    '(?:application|audio|font|image|model|multipart|text|video)/.*',
    '[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}',
  ]
    .map((each) => `(?:^${each}$)`)
    .join('|'),
);

/** Whether a string has the form of something that is no id. */
export function isNoId(text: string): boolean {
  return NO_ID.test(text);
}

const FIELD_NAME = new RegExp(String.raw`^[@$]?[\w.$:[\]-]{1,${NAME_CHARS}}$`);

/**
 * Whether a name is that of a field. Others are values themselves, such as ids and addresses by which a map is keyed.
 * A capture must not have them in its places, and no live answer has them at the same place.
 */
export function isFieldName(name: string): boolean {
  if (!FIELD_NAME.test(name)) return false;
  return !/\d/.test(name) || !(/\d{6}/.test(name) || name.split(/[^A-Za-z0-9]+/).some(mixesDigits));
}

/** Whether digits change with letters in a word more often than in the name of a field, such as `sha256sum`. */
function mixesDigits(word: string): boolean {
  return word.length >= LEAST_CHARS && changesOf(word) > 2;
}

function changesOf(word: string): number {
  return word.match(/\d(?=[A-Za-z])|[A-Za-z](?=\d)/g)?.length ?? 0;
}

/** From this length on, nobody looks for a meaning in a word, and in a text with both cases. */
const LONG_WORD = 16;
const LONG_TEXT = 20;

/**
 * Whether a string looks drawn at random: it is long and has both cases, as base64 with its marks, or it has a long word,
 * or one in which digits change with letters.
 */
export function looksRandom(text: string): boolean {
  if (text.length >= LONG_TEXT && /[a-z]/.test(text) && /[A-Z]/.test(text)) return true;
  return text.split(/[^A-Za-z0-9]+/).some((word) => {
    if (word.length < LEAST_CHARS) return false;
    if (word.length >= LONG_WORD && /\d|[a-z][A-Z]/.test(word)) return true;
    return changesOf(word) > 1;
  });
}
