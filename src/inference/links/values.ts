/**
 * Strings that a server may have issued, and their hashes. This is in the recorder's path, so strings are hashed where
 * they stand: nothing is allocated for one.
 */

/** The shortest and the longest value that is linked. A cookie has at most 4,096 characters. */
export const LEAST_CHARS = 8;
const MOST_CHARS = 4_096;

const DIGIT = 1;
const LOWER = 2;
const UPPER = 4;
const MARK = 8;
/** What a character is; 0 for those that no issued value has, such as white space, quotes and `@`. */
const CLASSES = new Uint8Array(128);
for (let code = 0; code < 128; code += 1) {
  const text = String.fromCharCode(code);
  if (/[0-9]/.test(text)) CLASSES[code] = DIGIT;
  else if (/[a-z]/.test(text)) CLASSES[code] = LOWER;
  else if (/[A-Z]/.test(text)) CLASSES[code] = UPPER;
  else if (/[-_.:+/=~|%!$*]/.test(text)) CLASSES[code] = MARK;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;

/** Words of a longer text are not noted: to read prompts of many kilobytes would cost more than all the rest. */
const NOTED_CHARS = 256;
/** Deeper values of JSON are not read. */
const DEPTH = 32;
/** The longest name of a field. */
const NAME_CHARS = 64;

/**
 * Two halves of a hash, salted with random numbers of the process. Two values with one hash cost a link or make a false
 * one, and nothing else.
 */
export class ValueHash {
  readonly #saltLow: number;
  readonly #saltHigh: number;
  low = 0;
  high = 0;
  #classes = 0;
  #chars = 0;

  /** @param salts two random numbers of 32 bits */
  constructor(salts: readonly [number, number]) {
    [this.#saltLow, this.#saltHigh] = salts;
  }

  /** Hashes `text` from `at` up to a character that no issued value has, or up to `end`. Returns where it stopped. */
  read(text: string, at: number, end: number): number {
    let low = this.#saltLow;
    let high = this.#saltHigh;
    let classes = 0;
    let next = at;
    for (; next < end; next += 1) {
      const code = text.charCodeAt(next);
      const known = code < 128 ? CLASSES[code]! : 0;
      if (known === 0) break;
      classes |= known;
      low = Math.imul(low ^ code, 0x01000193);
      high = Math.imul(high ^ code, 0x5bd1e995);
    }
    this.low = low;
    this.high = high;
    this.#classes = classes;
    this.#chars = next - at;
    return next;
  }

  /** Whether what was read may be an issued value: long enough, and with digits among letters or with both cases. */
  get mayBeIssued(): boolean {
    if (this.#chars < LEAST_CHARS || this.#chars > MOST_CHARS) return false;
    const letters = this.#classes & (LOWER | UPPER);
    return (this.#classes & DIGIT) === 0 ? letters === (LOWER | UPPER) : letters !== 0;
  }
}

/** Takes a value where it stands; the hash is that of the `ValueHash` in use. */
export type OnValue = (from: number, end: number) => void;

/** Reads the string values of JSON, complete or cut, and knows where in the document it is. */
export class JsonValues {
  readonly #hash: ValueHash;
  readonly #keyFrom = new Int32Array(DEPTH + 1);
  readonly #keyEnd = new Int32Array(DEPTH + 1);
  /** Of an array; -1 in an object. */
  readonly #index = new Int32Array(DEPTH + 1);
  #depth = 0;
  #text = '';

  constructor(hash: ValueHash) {
    this.#hash = hash;
  }

  /**
   * Calls `onValue` for each string value that may be issued, and `onWord` for each such word inside of other texts
   * and each such name of a member.
   * For text that is not JSON the result is undefined, and the work is bounded by its length.
   */
  read(text: string, onValue: OnValue, onWord: (() => void) | null): void {
    this.#text = text;
    this.#depth = 0;
    let isKey = false;
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        if (isKey) {
          isKey = false;
          at = this.#key(at + 1, onWord);
        } else if (this.#depth <= DEPTH) at = this.#value(at + 1, onValue, onWord);
        else at = stringEnd(text, at + 1);
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

  /** A number for the place of the current value, the same for the same place. */
  placeHash(withIndexes: boolean): number {
    let low = 0x811c9dc5;
    let high = 0x2b992ddf;
    for (let depth = 1; depth <= this.#depth; depth += 1) {
      const index = this.#index[depth]!;
      if (index >= 0) {
        low = Math.imul(low ^ (withIndexes ? index : 0), 0x01000193) ^ 0x2f;
        high = Math.imul(high ^ (withIndexes ? index : 0), 0x5bd1e995) ^ 0x2a;
        continue;
      }
      for (let at = this.#keyFrom[depth]!; at < this.#keyEnd[depth]!; at += 1) {
        low = Math.imul(low ^ this.#text.charCodeAt(at), 0x01000193);
        high = Math.imul(high ^ this.#text.charCodeAt(at), 0x5bd1e995);
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

  #keyAt(depth: number): string {
    const raw = this.#text.slice(this.#keyFrom[depth], this.#keyEnd[depth]);
    return raw.includes('\\') ? unescaped(raw) : raw;
  }

  #key(from: number, onWord: (() => void) | null): number {
    const end = stringEnd(this.#text, from);
    if (onWord !== null && end - from >= LEAST_CHARS && end - from <= NOTED_CHARS) {
      if (this.#hash.read(this.#text, from, end) === end && this.#hash.mayBeIssued) onWord();
    }
    if (this.#depth <= DEPTH) {
      this.#keyFrom[this.#depth] = from;
      // Of a longer name the beginning is enough: it is read again for each value below it.
      this.#keyEnd[this.#depth] = Math.min(end, from + NAME_CHARS + 1);
    }
    return end;
  }

  #value(from: number, onValue: OnValue, onWord: (() => void) | null): number {
    const text = this.#text;
    const hash = this.#hash;
    let end = hash.read(text, from, text.length);
    if (text.charCodeAt(end) === QUOTE) {
      if (hash.mayBeIssued) onValue(from, end);
      return end;
    }
    // Words of a text are values that the client knows. In an answer, they are of no interest.
    const most = onWord === null ? from : Math.min(text.length, from + NOTED_CHARS);
    while (end < most && text.charCodeAt(end) !== QUOTE) {
      if (hash.mayBeIssued) onWord?.();
      end += text.charCodeAt(end) === BACKSLASH ? 2 : 1;
      end = hash.read(text, end, text.length);
    }
    if (end < most && hash.mayBeIssued) onWord?.();
    return stringEnd(text, end);
  }
}

/** Position of the quote that ends a string, from any position inside of it; the end of cut text. */
function stringEnd(text: string, from: number): number {
  for (let at = text.indexOf('"', from); at >= 0; at = text.indexOf('"', at + 1)) {
    let slashes = at;
    while (slashes > from && text.charCodeAt(slashes - 1) === BACKSLASH) slashes -= 1;
    if ((at - slashes) % 2 === 0) return at;
  }
  return text.length;
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
