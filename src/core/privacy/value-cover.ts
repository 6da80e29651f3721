import type { KeyedHash } from '../keyed-hash.ts';
import { LIMITS } from '../limits.ts';
import type { SeededRandom } from '../random.ts';
import { fillWithWords } from './filler.ts';
import { bytesPerToken } from './token-estimate.ts';
import { coverWithWords, maskRandom } from './token-like-mask.ts';
import type { Treatment } from './treatment.ts';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const PLUS = 0x2b;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const ONE = 0x31;
const NINE = 0x39;
const QUOTE = 0x22;
const OPEN_BRACKET = 0x5b;
const OPEN_BRACE = 0x7b;

/** Shorter values are masked where a hash was asked for: too few digits would fit to tell two apart. */
const HASHED_FROM_BYTES = 8;
const HASH_DIGITS = 16;
/** Whole numbers keep this many leading digits, `1`, `10` or `100`: so they stay within their type's range. */
const FIXED_DIGITS = 3;

/** A form may have any number of secret fields, each of its own name. */
const NOTED_NAMES = 256;

/** What presets keep inside of a masked value: the name of a kind, an identifier, a media type. */
const LABEL = /^[A-Za-z0-9_.:/-]{1,64}$/;
const LABEL_BYTES = 64;

/** A mask that a server which decodes it finds to be JSON. In a string, hence escaped. */
const JSON_MASK_OPEN = '{\\"text\\":\\"';
const JSON_MASK_CLOSE = '\\"}';

/** Covers the values of one body in place, and notes which rules did. */
export class ValueCover {
  readonly #hash: KeyedHash;
  readonly #random: SeededRandom;
  readonly #names = new Set<string>();
  #hashed = 0;

  /**
   * @param seed at least eight bytes. Equal bodies get equal masks, and their hashes say that they are equal
   * anyway; within a body each value gets words of its own.
   */
  constructor(hash: KeyedHash, seed: Uint8Array) {
    this.#hash = hash;
    this.#random = maskRandom(seed);
  }

  /** The pointers of rules that covered something. */
  get names(): readonly string[] {
    return [...this.#names];
  }

  note(treatment: Treatment): void {
    if (this.#names.size < NOTED_NAMES) this.#names.add(treatment.name);
  }

  /**
   * Covers the inside of a string.
   * @param plain what the string says, for its hash; called only for that
   */
  string(text: Buffer, from: number, to: number, treatment: Treatment, plain: () => Uint8Array): void {
    const { covering } = treatment;
    if (covering === 'keep' && isLabel(text, from, to)) return;
    if (to <= from) return;
    this.note(treatment);
    if (this.#hashes(treatment, from, to)) this.#hashString(text, from, to, plain());
    else if (covering === 'mask_json') this.#maskJson(text, from, to);
    else coverWithWords(text, from, to, this.#random);
  }

  /** Covers text that no rule can name, where a label was in place; `name` is what it is noted as. */
  text(text: Buffer, from: number, to: number, name: string): void {
    this.string(text, from, to, { covering: 'mask', strength: 0, name }, () => Buffer.alloc(0));
  }

  /** Covers a number: sign, point and the count of digits stay, so that it is still a number of its kind. */
  number(text: Buffer, from: number, to: number, treatment: Treatment): void {
    if (treatment.covering === 'keep') return;
    this.note(treatment);
    const hashes = this.#hashes(treatment, from, to);
    const random = hashes ? maskRandom(this.#hash.ofValue(text.subarray(from, to))) : this.#random;
    const start = text[from] === MINUS ? from + 1 : from;
    const fixed = hashes ? FIXED_DIGITS - 1 : FIXED_DIGITS;
    // What the digit at hand belongs to: the whole part, the fraction, or the exponent.
    let part: 'whole' | 'fraction' | 'exponent' = 'whole';
    for (let at = start; at < to; at += 1) {
      const byte = text[at] as number;
      if (byte === POINT) part = 'fraction';
      else if (byte === MINUS || byte === PLUS) continue;
      else if (byte < ZERO || byte > NINE) part = 'exponent';
      else if (part === 'exponent') text[at] = ZERO;
      else if (part === 'fraction' || at - start >= fixed) text[at] = ZERO + random.below(10);
      // A single digit before a point is 0, whichever it was: what was below 1 stays there.
      else text[at] = at === start && text[at + 1] !== POINT ? ONE : ZERO;
    }
  }

  /**
   * Puts `null` in a value's place, or, where that does not fit, the empty value of its type; then blanks. Line
   * ends stay: an object or array that has some becomes an empty one.
   */
  drop(text: Buffer, from: number, to: number, treatment: Treatment): void {
    this.note(treatment);
    const first = text[from] as number;
    const container = first === OPEN_BRACKET || first === OPEN_BRACE;
    if (to - from >= 4 && !(container && hasLineEnd(text, from, to))) {
      text.fill(SPACE, from, to);
      text.write('null', from, 'latin1');
    } else if (container) {
      for (let at = from + 1; at < to - 1; at += 1) if (!isLineEnd(text[at] as number)) text[at] = SPACE;
    } else {
      text.fill(SPACE, from, to);
      text.write(first === QUOTE ? '""' : '0', from, 'latin1');
    }
  }

  /** Whether a value is hashed; masked where it is too short, or one of too many. */
  #hashes({ covering }: Treatment, from: number, to: number): boolean {
    if (covering !== 'hash' || to - from < HASHED_FROM_BYTES || this.#hashed >= LIMITS.hashedValues)
      return false;
    this.#hashed += 1;
    return true;
  }

  #hashString(text: Buffer, from: number, to: number, plain: Uint8Array): void {
    const digest = this.#hash.ofValue(plain);
    const perToken = bytesPerToken(text, from, to);
    const end = Math.min(to, from + HASH_DIGITS);
    text.write(
      Buffer.from(digest)
        .toString('hex')
        .slice(0, end - from),
      from,
      'latin1',
    );
    if (end === to) return;
    text[end] = SPACE;
    // The words come from the hash as well: equal texts stay equal to their last byte.
    fillWithWords(text, end + 1, to, perToken, maskRandom(digest));
  }

  #maskJson(text: Buffer, from: number, to: number): void {
    const room = to - from - JSON_MASK_OPEN.length - JSON_MASK_CLOSE.length;
    if (room < 1) {
      text.fill(SPACE, from, to);
      if (to - from >= 2) text.write('{}', from, 'latin1');
      return;
    }
    const start = from + JSON_MASK_OPEN.length;
    const perToken = bytesPerToken(text, from, to);
    text.write(JSON_MASK_OPEN, from, 'latin1');
    fillWithWords(text, start, start + room, perToken, this.#random);
    text.write(JSON_MASK_CLOSE, start + room, 'latin1');
  }
}

function isLabel(text: Buffer, from: number, to: number): boolean {
  return to - from <= LABEL_BYTES && LABEL.test(text.toString('latin1', from, to));
}

function hasLineEnd(text: Buffer, from: number, to: number): boolean {
  const inside = text.subarray(from, to);
  return inside.includes(LF) || inside.includes(CR);
}

function isLineEnd(byte: number): boolean {
  return byte === LF || byte === CR;
}
