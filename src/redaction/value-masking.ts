import { ASCII, byteSet, seek } from '../core/ascii.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { SeededRandom } from '../core/random.ts';
import { bytesPerToken } from '../core/token-estimate.ts';
import type { Treatment } from './body-rules.ts';
import { NameAllowance } from './secret-names.ts';
import type { UrlSecrets } from './url-secrets.ts';

const { SPACE, PLUS, MINUS, POINT, ZERO, ONE, NINE, QUOTE, OPEN_BRACKET, OPEN_BRACE, EQUALS } = ASCII;

const LINE_ENDS = byteSet('\r\n');
const ESCAPE = byteSet('\\');

/** Shorter values are masked instead of hashed: too few digits fit to distinguish them. */
const HASHED_FROM_BYTES = 8;
const HASH_DIGITS = 16;
/** The same for a varint: 28 bits. */
const HASHED_FROM_VARINT_BYTES = 4;
/** Whole numbers keep this many leading digits, `1`, `10` or `100`, to stay in their type's range. */
const FIXED_DIGITS = 3;

/** Most names noted per body. A form may have any number of secret fields, each with its own name. */
const NOTED_NAMES = 256;

/** What presets keep inside a masked value: a kind, an identifier, a media type. */
const LABEL = /^[A-Za-z0-9_.:/-]{1,64}$/;
const LABEL_BYTES = 64;

/** A mask that is itself JSON when a server decodes it. It is inside a string, hence escaped. */
const JSON_MASK_OPEN = '{\\"text\\":\\"';
const JSON_MASK_CLOSE = '\\"}';

/** Masks the values of one body in place and notes which rules applied. */
export class ValueCover {
  readonly #hash: KeyedHash;
  readonly #random: SeededRandom;
  readonly #urls: UrlSecrets;
  readonly #allowance = new NameAllowance();
  readonly #names = new Set<string>();
  #hashed = 0;

  /**
   * @param seed at least eight bytes. Equal bodies get equal masks; their hashes show that they are equal
   * anyway. Within a body each value gets different words.
   */
  constructor(hash: KeyedHash, seed: Uint8Array, urls: UrlSecrets) {
    this.#hash = hash;
    this.#urls = urls;
    this.#random = maskRandom(seed);
  }

  /** Pointers of the rules that masked something. */
  get names(): readonly string[] {
    return [...this.#names];
  }

  /** Whether the pointer of the whole body is noted. It includes all others. */
  get notesAll(): boolean {
    return this.#names.has('');
  }

  note({ name }: Pick<Treatment, 'name'>): void {
    if (this.#names.size < NOTED_NAMES) this.#names.add(name);
    // The pointer of the whole body stands for all names beyond the limit.
    else if (!this.#names.has(name)) this.#names.add('');
  }

  /**
   * Masks credentials in the URLs of a string that no rule covers. One with escapes is masked whole.
   * @param plain returns the decoded string, for one with escapes
   * @param name returns the pointer to note
   */
  urls(text: Buffer, from: number, to: number, plain: () => Uint8Array, name: () => string): void {
    const escaped = seek(text, from, to, ESCAPE) < to;
    const searched = escaped ? plain() : text;
    const [start, end] = escaped ? [0, searched.length] : [from, to];
    let found = false;
    const mask = (start: number, end: number) => {
      found ||= end > start;
      if (!escaped) this.#maskInUrl(text, start, end);
    };
    this.#urls.findInText(searched, start, end, this.#allowance, { mask, hash: mask });
    if (!found) return;
    this.note({ name: name() });
    if (escaped) this.#maskInUrl(text, from, to);
  }

  #maskInUrl(text: Buffer, from: number, to: number): void {
    if (to <= from) return;
    coverWithWords(text, from, to, this.#random);
    for (let at = from; at < to; at += 1) if (text[at] === SPACE) text[at] = PLUS;
  }

  /**
   * Masks the inside of a string; a dropped one becomes blanks.
   * @param plain returns the decoded string; called only to hash it
   */
  string(text: Buffer, from: number, to: number, treatment: Treatment, plain: () => Uint8Array): void {
    const { covering } = treatment;
    if (covering === 'keep' && isLabel(text, from, to)) return;
    if (to <= from) return;
    this.note(treatment);
    if (covering === 'drop') text.fill(SPACE, from, to);
    else if (this.#hashes(treatment, to - from >= HASHED_FROM_BYTES))
      this.#hashString(text, from, to, plain());
    else if (covering === 'mask_json') this.#maskJson(text, from, to);
    else coverWithWords(text, from, to, this.#random);
  }

  /** Masks text that no rule can name, where only a label is allowed; noted as `name`. */
  text(text: Buffer, from: number, to: number, name: string): void {
    this.string(text, from, to, { covering: 'mask', strength: 0, name }, () => Buffer.alloc(0));
  }

  /** Masks a number. Sign, point and number of digits stay, so it remains a number of its kind. */
  number(text: Buffer, from: number, to: number, treatment: Treatment): void {
    if (treatment.covering === 'keep') return;
    this.note(treatment);
    const hashes = this.#hashes(treatment, to - from >= HASHED_FROM_BYTES);
    const random = hashes ? maskRandom(this.#hash.ofValue(text.subarray(from, to))) : this.#random;
    const start = text[from] === MINUS ? from + 1 : from;
    const fixed = hashes ? FIXED_DIGITS - 1 : FIXED_DIGITS;
    // Current part of the number.
    let part: 'whole' | 'fraction' | 'exponent' = 'whole';
    for (let at = start; at < to; at += 1) {
      const byte = text[at] as number;
      if (byte === POINT) part = 'fraction';
      else if (byte === MINUS || byte === PLUS) continue;
      else if (byte < ZERO || byte > NINE) part = 'exponent';
      else if (part === 'exponent') text[at] = ZERO;
      else if (part === 'fraction' || at - start >= fixed) text[at] = ZERO + random.below(10);
      // A single digit before a point becomes 0, so values below 1 stay there.
      else text[at] = at === start && text[at + 1] !== POINT ? ONE : ZERO;
    }
  }

  /**
   * Masks a varint of protobuf. Its length stays, and it is in its smallest form, so it remains a number of its kind; a
   * dropped one becomes 0.
   */
  varint(bytes: Buffer, from: number, to: number, treatment: Treatment): void {
    if (treatment.covering === 'keep') return;
    this.note(treatment);
    const last = to - 1;
    const isDropped = treatment.covering === 'drop';
    const hashes = this.#hashes(treatment, to - from >= HASHED_FROM_VARINT_BYTES);
    const random = hashes ? maskRandom(this.#hash.ofValue(bytes.subarray(from, to))) : this.#random;
    for (let at = from; at < last; at += 1) bytes[at] = 0x80 | (isDropped ? 0 : random.below(0x80));
    bytes[last] = isDropped ? 0 : 1;
  }

  /**
   * Replaces a value by `null` and blanks, or by the empty value of its type if `null` does not fit. Line
   * ends stay: an object or array that contains some becomes an empty one.
   */
  drop(text: Buffer, from: number, to: number, treatment: Treatment): void {
    this.note(treatment);
    const first = text[from] as number;
    const container = first === OPEN_BRACKET || first === OPEN_BRACE;
    if (to - from >= 4 && !(container && seek(text, from, to, LINE_ENDS) < to)) {
      text.fill(SPACE, from, to);
      text.write('null', from, 'latin1');
    } else if (container) {
      for (let at = from + 1; at < to - 1; at += 1) if (LINE_ENDS[text[at]!] === 0) text[at] = SPACE;
    } else {
      text.fill(SPACE, from, to);
      text.write(first === QUOTE ? '""' : '0', from, 'latin1');
    }
  }

  /** Whether to hash a value. It is masked instead if it is too short or one of too many. */
  #hashes({ covering }: Treatment, isLong: boolean): boolean {
    if (covering !== 'hash' || !isLong || this.#hashed >= LIMITS.hashedValues) return false;
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
    // The hash also seeds the words, so equal texts stay equal completely.
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

export function isLabel(text: Buffer, from: number, to: number): boolean {
  return to - from <= LABEL_BYTES && LABEL.test(text.toString('latin1', from, to));
}

const ENCODED_FROM_BYTES = 64;
const LETTERS = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', 'latin1');
/** Base64 in both alphabets. */
const ENCODED = byteSet(`${LETTERS.toString()}0123456789+/-_=`);
const DATA_URL = /^data:(?:image|audio|video|application)\/[a-z0-9.+-]{1,40};base64,/i;
const DATA_URL_BYTES = 64;

/** A generator for masks, from the first eight bytes of the seed. */
function maskRandom(seed: Uint8Array): SeededRandom {
  const view = new DataView(seed.buffer, seed.byteOffset, seed.byteLength);
  return new SeededRandom((view.getUint32(4) & 0x1f_ffff) * 2 ** 32 + view.getUint32(0));
}

/**
 * Masks `text[from, to)`, the inside of a JSON string, with words. The length stays exactly the same, the
 * token count about the same. Long base64 text (a picture) gets base64 letters after its `data:` prefix. Only
 * letters, blanks and `=` are written.
 */
function coverWithWords(text: Buffer, from: number, to: number, random: SeededRandom): void {
  const start = encodedStart(text, from, to);
  if (start !== null) coverWithLetters(text, start, to, random);
  else fillWithWords(text, from, to, bytesPerToken(text, from, to), random);
}

/** Start of a long base64 text, after the prefix of a data URL; null if it is none. */
function encodedStart(text: Buffer, from: number, to: number): number | null {
  if (to - from < ENCODED_FROM_BYTES) return null;
  const prefix = DATA_URL.exec(text.toString('latin1', from, from + DATA_URL_BYTES));
  const start = from + (prefix?.[0].length ?? 0);
  for (let at = start; at < to; at += 1) if (ENCODED[text[at]!] !== 1) return null;
  return start;
}

function coverWithLetters(text: Buffer, from: number, to: number, random: SeededRandom): void {
  let end = to;
  // The padding stays, because it only shows the length.
  while (end > from && text[end - 1] === EQUALS) end -= 1;
  for (let at = from; at < end; ) {
    let bits = random.nextUint32();
    for (let letter = 0; letter < 4 && at < end; letter += 1, at += 1) {
      text[at] = LETTERS[(bits & 0xff) % LETTERS.length] as number;
      bits >>>= 8;
    }
  }
}

/**
 * Words of one to nine letters, each one token in common vocabularies. Stars are cheap for a tokenizer
 * (sixteen to a token). A replayed mask of stars would weigh much less than the original text.
 */
const WORDS: readonly (readonly string[])[] = [
  'a i',
  'of to in it is on as by at or we so',
  'the and for you was are not but all can how out new day now',
  'that with from this have your more will time some only over just most year',
  'about other which their there first these would after where right water small place',
  'people should number before system little school change always around family follow',
  'because through between another problem company however without several program general',
  'together children business question national possible possibly increase research although',
  'important different something community including available education beginning questions',
].map((line) => line.split(' '));
const LONGEST_WORD = WORDS.length;

/** Bounds of bytes per token, including the blank before a word. */
const DENSEST = 2;
const THINNEST = LONGEST_WORD + 1;
const STEPS_PER_BYTE = 4;

const FILLER_BYTES = 16 * 1024;
/** Bytes copied at once, before continuing at another word. */
const STRETCH_BYTES = 512;

/** Filler text of a given weight, made once. Masking copies from it. */
class Filler {
  readonly #text = Buffer.alloc(FILLER_BYTES, SPACE);
  /** Word starts with a full stretch after them. */
  readonly #starts: number[] = [];

  /** @param perToken mean bytes of a word with its blank */
  constructor(perToken: number) {
    const random = new SeededRandom(Math.round(perToken * STEPS_PER_BYTE));
    // Bytes that the words so far took beyond their share. The next word compensates.
    let surplus = 0;
    for (let at = 0; at + LONGEST_WORD < FILLER_BYTES; ) {
      const wanted = perToken - 1 - surplus + (random.below(3) - 1);
      const length = Math.min(LONGEST_WORD, Math.max(1, Math.round(wanted)));
      const words = WORDS[length - 1] as readonly string[];
      this.#text.write(words[random.below(words.length)] as string, at, 'latin1');
      if (at + STRETCH_BYTES <= FILLER_BYTES) this.#starts.push(at);
      at += length + 1;
      surplus += length + 1 - perToken;
    }
  }

  fill(text: Buffer, from: number, to: number, random: SeededRandom): void {
    for (let at = from; at < to; at += STRETCH_BYTES) {
      const start = this.#starts[random.below(this.#starts.length)] as number;
      this.#text.copy(text, at, start, start + Math.min(STRETCH_BYTES, to - at));
    }
  }
}

const fillers = new Map<number, Filler>();

/** Writes words over `text[from, to)` that take about `perToken` bytes each, including blanks. */
function fillWithWords(text: Buffer, from: number, to: number, perToken: number, random: SeededRandom): void {
  const step = Math.round(Math.min(THINNEST, Math.max(DENSEST, perToken)) * STEPS_PER_BYTE);
  let filler = fillers.get(step);
  if (filler === undefined) {
    filler = new Filler(step / STEPS_PER_BYTE);
    fillers.set(step, filler);
  }
  filler.fill(text, from, to, random);
}
