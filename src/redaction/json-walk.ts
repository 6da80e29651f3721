import { ASCII } from '../core/ascii.ts';
import { UnreadableBody } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { strongerOf, type Treatment } from './body-rules.ts';
import { NOWHERE, type PointerState } from './pointer-states.ts';
import { isStructuralNumber, isStructuralWord, mayBeWord } from './structural-fields.ts';
import type { ValueCover } from './value-masking.ts';

const {
  QUOTE,
  PLUS,
  COMMA,
  MINUS,
  POINT,
  ZERO,
  NINE,
  COLON,
  OPEN_BRACKET,
  BACKSLASH,
  CLOSE_BRACKET,
  LOWER_E,
  LOWER_U,
  OPEN_BRACE,
  CLOSE_BRACE,
} = ASCII;

/** JSON's literals, and those that Python writes and reads by default. */
const LITERALS = ['true', 'false', 'null', 'NaN', 'Infinity', '-Infinity'].map((word) =>
  Buffer.from(word, 'latin1'),
);
/** Characters allowed after a backslash, besides u. */
const ESCAPES = Buffer.from('"\\\\/bfnrt', 'latin1');
/** Bounds of a pointer that is noted beside a message. */
const NOTED_STEPS = 16;
/** Beyond this number in a document, the whole document is noted, because a client may send millions. */
const NOTED_POINTERS = 10_000;
const NOTED_NAME_BYTES = 64;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/**
 * Walks JSON text byte by byte and masks in place what rules name. Nothing is parsed or rewritten, so every
 * other byte stays. Every repeated member is walked, because servers differ in which one they use.
 */
export class JsonWalk {
  readonly #text: Buffer;
  readonly #end: number;
  readonly #cover: ValueCover;
  /** By nesting depth: where the name of the current member begins and ends. `#nameTo` is 0 in an array. */
  readonly #nameFrom: number[] = [];
  readonly #nameTo: number[] = [];
  /**
   * By nesting depth, computed on demand: the step of a pointer (null where the pointer ends), and the enclosing name.
   */
  readonly #steps: (string | null | undefined)[] = [];
  readonly #around: (string | undefined)[] = [];
  /** By nesting depth: the treatment of a value that is on no list, with its pointer. */
  readonly #noted: (Treatment | undefined)[] = [];
  #pointers = 0;
  #at: number;

  constructor(text: Buffer, from: number, to: number, cover: ValueCover) {
    this.#text = text;
    this.#end = to;
    this.#cover = cover;
    const marked = text[from] === BYTE_ORDER_MARK[0] && text.indexOf(BYTE_ORDER_MARK, from) === from;
    this.#at = marked && from + BYTE_ORDER_MARK.length <= to ? from + BYTE_ORDER_MARK.length : from;
  }

  /**
   * Masks one document, or with `sequence` any number of consecutive ones.
   * @throws UnreadableBody when the text is not JSON to its end, or nests too deep
   */
  run(root: PointerState, sequence = false): void {
    do {
      this.#value(root, null, 0);
      this.#skipBlanks();
    } while (sequence && this.#at < this.#end);
    if (this.#at < this.#end) throw new UnreadableBody('not_json');
  }

  /** @param outer treatment of the value around this one */
  #value(state: PointerState, outer: Treatment | null, depth: number): void {
    this.#skipBlanks();
    const treatment = strongerOf(outer, state.treatment);
    const from = this.#at;
    const first = from < this.#end ? this.#text[from] : undefined;
    const container = first === OPEN_BRACE || first === OPEN_BRACKET;
    if (container) {
      if (depth >= LIMITS.jsonDepth) throw new UnreadableBody('too_deep');
      const dropped = treatment?.covering === 'drop';
      const inner = treatment === null ? null : innerOf(treatment, outer);
      this.#container(first === OPEN_BRACE, dropped ? NOWHERE : state, dropped ? null : inner, depth + 1);
    } else if (first === QUOTE) {
      this.#skipString();
    } else if (!this.#skipLiteral()) {
      this.#skipNumber();
    }
    if (treatment === null) {
      if (first === QUOTE) this.#urls(from, this.#at, depth);
      return;
    }
    if (treatment.covering === 'mask_unlisted') {
      if (!container) this.#unlisted(from, depth, treatment);
    } else if (treatment.covering === 'drop') this.#cover.drop(this.#text, from, this.#at, treatment);
    else if (first === QUOTE) this.#string(from, this.#at, treatment);
    else if (!container && isNumber(this.#text, from)) {
      this.#cover.number(this.#text, from, this.#at, treatment);
    }
  }

  #container(object: boolean, state: PointerState, outer: Treatment | null, depth: number): void {
    const close = object ? CLOSE_BRACE : CLOSE_BRACKET;
    this.#at += 1;
    this.#nameTo[depth] = 0;
    this.#forget(depth, '*');
    this.#skipBlanks();
    if (this.#peek() === close) {
      this.#at += 1;
      return;
    }
    for (let index = 0; ; index += 1) {
      const next = object
        ? this.#memberName(state, depth)
        : state.readsNames
          ? state.member(`${index}`)
          : state.other();
      this.#value(next, outer, depth);
      this.#skipBlanks();
      const byte = this.#peek();
      this.#at += 1;
      if (byte === close) return;
      if (byte !== COMMA) throw new UnreadableBody('not_json');
    }
  }

  /** Skips a member's name and colon. @returns the state for its value */
  #memberName(state: PointerState, depth: number): PointerState {
    this.#skipBlanks();
    if (this.#peek() !== QUOTE) throw new UnreadableBody('not_json');
    const from = this.#at;
    const escaped = this.#skipString();
    const to = this.#at;
    this.#nameFrom[depth] = from;
    this.#nameTo[depth] = to;
    this.#forget(depth, undefined);
    this.#skipBlanks();
    if (this.#peek() !== COLON) throw new UnreadableBody('not_json');
    this.#at += 1;
    if (!state.readsNames) return state.other();
    const name = escaped ? this.#unescaped(from, to) : this.#text.toString('utf8', from + 1, to - 1);
    return state.member(name);
  }

  /** Masks credentials in a string that no rule names, if it is a URL or contains URLs. */
  #urls(from: number, to: number, depth: number): void {
    this.#cover.urls(
      this.#text,
      from + 1,
      to - 1,
      () => Buffer.from(this.#unescaped(from, to), 'utf8'),
      () => this.#pointerTo(depth),
    );
  }

  /** Masks the text or number that has just been read, unless it is on the list of structural fields. */
  #unlisted(from: number, depth: number, treatment: Treatment): void {
    const text = this.#text;
    const to = this.#at;
    if (text[from] === QUOTE) {
      const isWord = mayBeWord(text, from + 1, to - 1);
      if (isWord && isStructuralWord(this.#nameAround(depth), text.toString('latin1', from + 1, to - 1)))
        return;
      this.#string(from, to, this.#notedAt(depth, treatment));
    } else if (isNumber(text, from)) {
      if (isStructuralNumber(this.#nameAround(depth), this.#nameTo[depth] === 0)) return;
      this.#cover.number(text, from, to, this.#notedAt(depth, treatment));
    }
  }

  #notedAt(depth: number, treatment: Treatment): Treatment {
    const noted = this.#noted[depth] ?? { ...treatment, name: this.#pointerTo(depth) };
    this.#noted[depth] = noted;
    return noted;
  }

  /** Forgets what was computed for the previous member at this depth. */
  #forget(depth: number, step: string | undefined): void {
    this.#steps[depth] = step;
    this.#around[depth] = undefined;
    this.#noted[depth] = undefined;
  }

  /** The name of the member that has the current value, or the list around it. */
  #nameAround(depth: number): string {
    if (depth === 0) return '';
    const known = this.#around[depth];
    if (known !== undefined) return known;
    const name = this.#nameTo[depth] === 0 ? this.#nameAround(depth - 1) : this.#nameAt(depth);
    this.#around[depth] = name;
    return name;
  }

  /**
   * The pointer to the current value, with `*` for elements. It ends before a name that is too long to note, or that
   * has a special meaning in pointers. Then it stands for everything below.
   */
  #pointerTo(depth: number): string {
    let pointer = '';
    this.#pointers += 1;
    if (this.#cover.notesAll || this.#pointers > NOTED_POINTERS) return pointer;
    for (let level = 1; level <= Math.min(depth, NOTED_STEPS); level += 1) {
      let step = this.#steps[level];
      if (step === undefined) {
        step = this.#stepAt(level);
        this.#steps[level] = step;
      }
      if (step === null) break;
      pointer += `/${step}`;
    }
    return pointer;
  }

  #stepAt(level: number): string | null {
    if ((this.#nameTo[level] as number) - (this.#nameFrom[level] as number) > NOTED_NAME_BYTES) return null;
    const name = this.#nameAt(level);
    return name === '-' ? null : name.replaceAll('~', '~0').replaceAll('/', '~1');
  }

  #nameAt(level: number): string {
    const from = this.#nameFrom[level] as number;
    const to = this.#nameTo[level] as number;
    const name = this.#text.toString('utf8', from + 1, to - 1);
    return name.includes('\\') ? this.#unescaped(from, to) : name;
  }

  #string(from: number, to: number, treatment: Treatment): void {
    this.#cover.string(this.#text, from + 1, to - 1, treatment, () => {
      const inside = this.#text.subarray(from + 1, to - 1);
      // Equal texts have one hash, however they are escaped.
      return inside.includes(BACKSLASH) ? Buffer.from(this.#unescaped(from, to), 'utf8') : inside;
    });
  }

  #unescaped(from: number, to: number): string {
    try {
      return JSON.parse(this.#text.toString('utf8', from, to)) as string;
    } catch {
      throw new UnreadableBody('not_json');
    }
  }

  /** @returns whether the string contains an escape */
  #skipString(): boolean {
    const text = this.#text;
    let escaped = false;
    for (let at = this.#at + 1; at < this.#end; at += 1) {
      const byte = text[at] as number;
      if (byte === QUOTE) {
        this.#at = at + 1;
        return escaped;
      }
      if (byte < 0x20) break;
      if (byte !== BACKSLASH) continue;
      escaped = true;
      at += 1;
      if (text[at] === LOWER_U ? !isHex(text, at + 1, this.#end) : !isEscape(text[at])) break;
    }
    throw new UnreadableBody('not_json');
  }

  #skipLiteral(): boolean {
    for (const word of LITERALS) {
      if (this.#text[this.#at] !== word[0]) continue;
      const end = this.#at + word.length;
      if (end <= this.#end && this.#text.compare(word, 0, word.length, this.#at, end) === 0) {
        this.#at = end;
        return true;
      }
    }
    return false;
  }

  /** Skips a number. The caller checks what follows. */
  #skipNumber(): void {
    if (this.#peek() === MINUS) this.#at += 1;
    if (this.#peek() === ZERO) this.#at += 1;
    else this.#skipDigits();
    if (this.#peek() === POINT) {
      this.#at += 1;
      this.#skipDigits();
    }
    if (((this.#peek() ?? 0) | 0x20) !== LOWER_E) return;
    this.#at += 1;
    const sign = this.#peek();
    if (sign === PLUS || sign === MINUS) this.#at += 1;
    this.#skipDigits();
  }

  #skipDigits(): void {
    const from = this.#at;
    let at = from;
    while (at < this.#end && isDigit(this.#text[at] as number)) at += 1;
    if (at === from) throw new UnreadableBody('not_json');
    this.#at = at;
  }

  #peek(): number | undefined {
    return this.#at < this.#end ? this.#text[this.#at] : undefined;
  }

  #skipBlanks(): void {
    while (this.#at < this.#end) {
      const byte = this.#text[this.#at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.#at += 1;
    }
  }
}

/**
 * The treatment of values inside a treated value. `keep` applies only to a short word and `mask_json` only to
 * a text. Anything else inside is masked.
 */
export function innerOf(treatment: Treatment, outer: Treatment | null): Treatment {
  const { covering, strength, name } = treatment;
  if (covering === 'keep' && outer !== null) return outer;
  return covering === 'keep' || covering === 'mask_json' ? { covering: 'mask', strength, name } : treatment;
}

/** Whether the valid value that starts here is a number. */
function isNumber(text: Buffer, at: number): boolean {
  const byte = text[at] as number;
  return isDigit(byte) || (byte === MINUS && isDigit(text[at + 1] ?? 0));
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE;
}

function isHex(text: Buffer, from: number, end: number): boolean {
  return from + 4 <= end && /^[0-9a-fA-F]{4}$/.test(text.toString('latin1', from, from + 4));
}

function isEscape(byte: number | undefined): boolean {
  return byte !== undefined && ESCAPES.includes(byte);
}
