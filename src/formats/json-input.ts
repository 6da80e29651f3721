import { isDeepStrictEqual } from 'node:util';
import { reasonOf } from '../core/errors.ts';
import { jsonEnd, jsonMember, jsonStart } from '../core/json-cursor.ts';
import { LIMITS } from '../core/limits.ts';
import { InputProblem, OTHER_FORMAT, shown, type TextLine } from './input.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Converts a parser's error into a problem of this line. Too deeply nested JSON overflows the parser's stack.
 */
export function lineProblem(thrown: unknown, line: number): unknown {
  if (thrown instanceof InputProblem) return thrown.at(line);
  if (!(thrown instanceof RangeError && /call stack/i.test(thrown.message))) return thrown;
  return new InputProblem('the JSON is nested too deeply', {
    line,
    hint: 'Remove the line, or flatten it.',
    cause: thrown,
  });
}

/**
 * Parses the object on a line.
 * @throws InputProblem when it is no object
 */
export function parseJsonLine(line: TextLine): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(line.bytes.toString());
  } catch (thrown) {
    throw new InputProblem(`not JSON: ${reasonOf(thrown)}`, {
      line: line.number,
      hint: OTHER_FORMAT,
      cause: thrown,
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InputProblem('not a JSON object', { line: line.number, hint: 'Each line must be an object.' });
  }
  return value as JsonObject;
}

/** Fields of untrusted JSON: a value of the wrong type counts as missing. */

export function objectAt(object: JsonObject, key: string): JsonObject | null {
  return asObject(Object.hasOwn(object, key) ? object[key] : null);
}

/** Empty if missing. */
export function textAt(object: JsonObject, key: string): string {
  const value = Object.hasOwn(object, key) ? object[key] : null;
  return typeof value === 'string' ? value : '';
}

export function numberAt(object: JsonObject, key: string): number | null {
  const value = Object.hasOwn(object, key) ? object[key] : null;
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** A size in bytes; null if missing or below zero. @throws InputProblem */
export function sizeAt(object: JsonObject, key: string): number | null {
  const size = numberAt(object, key);
  if (size === null || size < 0) return null;
  if (Number.isInteger(size) && size <= LIMITS.importBodyBytes) return size;
  throw new InputProblem(`${key} ${size} is not a valid body size`, {
    hint: `Sizes are whole numbers up to ${LIMITS.importBodyBytes}; correct it, or leave it out.`,
  });
}

/** A duration; null as for sizes. @throws InputProblem */
export function durationMsAt(object: JsonObject, key: string): number | null {
  const ms = numberAt(object, key);
  if (ms === null || ms < 0) return null;
  if (ms * 1e3 <= LIMITS.importOffsetUs) return ms;
  throw new InputProblem(`${key} ${ms} is too long for an exchange`, {
    hint: 'Correct it, or leave it out.',
  });
}

/** The objects of an array; empty if missing. */
export function arrayAt(object: JsonObject, key: string): JsonObject[] {
  const value = Object.hasOwn(object, key) ? object[key] : null;
  return Array.isArray(value) ? value.map(asObject).filter((each) => each !== null) : [];
}

function asObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
}

/**
 * The bytes of a member as written in the object's text. A parser would round long numbers and could reorder
 * keys.
 * @param object the parsed `text`
 * @throws InputProblem when the member is ambiguous
 */
export function verbatimMember(text: Buffer, object: JsonObject, key: string): Buffer {
  const at = jsonMember(text, jsonStart(text), key);
  const end = jsonEnd(text, at);
  if (end < 0) throw new InputProblem(`the key ${key} is not written plainly`, { hint: `Write "${key}".` });
  const bytes = text.subarray(at, end);
  // A second key with this name may be written with an escape.
  const mayRepeat = text.includes(`"${key}"`, end) || text.includes('\\u', end);
  if (mayRepeat && !isDeepStrictEqual(JSON.parse(bytes.toString()), object[key])) {
    throw new InputProblem(`two keys are called ${key}`, { hint: 'Leave one of them out.' });
  }
  return bytes;
}

/** A value of an array within a JSON document. */
interface JsonItem {
  /** From 1. */
  readonly number: number;
  readonly bytes: Buffer;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
/** Longer names cannot match. */
const NAME_BYTES = 64;
/** Most nesting outside of items; deeper documents are refused. */
const MOST_NESTED = 128;

interface Level {
  readonly array: boolean;
  /** The key of the value being read; null in arrays. */
  key: string | null;
}

/**
 * Yields the objects of the array at a path of keys (`log`, `entries`), one by one. Only one item is in
 * memory, whatever the document's size. Other content is skipped.
 * @param onOther called for each array element that is no object; it is skipped
 * @throws InputProblem when the document is truncated, is no JSON, or has no such array
 */
export async function* jsonItems(
  chunks: AsyncIterable<Buffer>,
  path: readonly string[],
  onOther: () => void = () => undefined,
  itemBytes: number = LIMITS.importLineBytes,
): AsyncGenerator<JsonItem[]> {
  const scanner = new ItemScanner(path, onOther, itemBytes);
  for await (const chunk of chunks) {
    const items = scanner.take(chunk);
    if (items.length > 0) yield items;
  }
  scanner.end();
}

class ItemScanner {
  readonly #path: readonly string[];
  readonly #onOther: () => void;
  readonly #itemBytes: number;
  readonly #levels: Level[] = [];
  #found = false;
  #over = false;
  #number = 0;
  /** Within an array element that is no object. */
  #inOther = false;
  /** Within a string, and after a backslash in it. */
  #inString = false;
  #escaped = false;
  /** Bytes of a string that may be a key; null elsewhere. */
  #name: number[] | null = null;
  #lastString = '';
  /** Pieces of the current item, its bytes, and its nesting; 0 outside of an item. */
  #pieces: Buffer[] = [];
  #pieceBytes = 0;
  #depth = 0;

  constructor(path: readonly string[], onOther: () => void, itemBytes: number) {
    this.#path = path;
    this.#onOther = onOther;
    this.#itemBytes = itemBytes;
  }

  take(chunk: Buffer): JsonItem[] {
    const items: JsonItem[] = [];
    for (let at = 0; at < chunk.length; ) {
      at = this.#depth > 0 ? this.#readItem(chunk, at, items) : this.#readOutside(chunk, at);
    }
    return items;
  }

  end(): void {
    if (this.#depth > 0) throw new InputProblem(`the file ends within entry ${this.#number}`, CUT);
    if (!this.#over) throw new InputProblem('the JSON ends too early', CUT);
    if (!this.#found) {
      throw new InputProblem(`no array ${shown(this.#path.join('.'))}`, {
        hint: 'Is this the right format?',
      });
    }
  }

  /** Continues an item. Returns where it ended, or the end of the chunk. */
  #readItem(chunk: Buffer, from: number, items: JsonItem[]): number {
    let at = from;
    while (at < chunk.length && this.#depth > 0) {
      const byte = chunk[at];
      at += 1;
      if (this.#inString) this.#readString(byte);
      else if (byte === QUOTE) this.#inString = true;
      else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) this.#depth += 1;
      else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) this.#depth -= 1;
    }
    this.#pieces.push(chunk.subarray(from, at));
    this.#pieceBytes += at - from;
    if (this.#pieceBytes > this.#itemBytes) {
      throw new InputProblem(`entry ${this.#number} has more than ${this.#itemBytes} bytes`);
    }
    if (this.#depth === 0) {
      items.push({ number: this.#number, bytes: Buffer.concat(this.#pieces) });
      this.#pieces = [];
      this.#pieceBytes = 0;
    }
    return at;
  }

  /** Reads one byte outside of items. Returns the next position. */
  #readOutside(chunk: Buffer, at: number): number {
    const byte = chunk[at] ?? 0;
    if (this.#inString) {
      if (this.#readString(byte)) this.#name?.push(byte);
      else {
        this.#lastString = Buffer.from(this.#name ?? []).toString();
        this.#name = null;
      }
      if ((this.#name?.length ?? 0) > NAME_BYTES) this.#name = null;
      return at + 1;
    }
    if (byte === OPEN_OBJECT && this.#inArray()) {
      this.#number += 1;
      this.#depth = 1;
      this.#pieces.push(chunk.subarray(at, at + 1));
      this.#pieceBytes = 1;
      return at + 1;
    }
    this.#readToken(byte);
    return at + 1;
  }

  #readToken(byte: number): void {
    const level = this.#levels.at(-1);
    if (byte <= 0x20) return;
    if (this.#over) throw new InputProblem('there is text after the end of the JSON');
    if (this.#inArray()) this.#readOther(byte);
    if (byte === QUOTE) {
      this.#inString = true;
      this.#name = level !== undefined && !level.array ? [] : null;
    } else if (byte === COLON && level !== undefined) level.key = this.#lastString;
    else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) this.#open(byte === OPEN_ARRAY);
    else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) this.#close(byte === CLOSE_ARRAY);
    else if (byte === COMMA && level !== undefined && !level.array) level.key = null;
    // Numbers and literals are ignored; outside of a container they are no document.
    else if (level === undefined) throw new InputProblem('not JSON', { line: 1, hint: OTHER_FORMAT });
  }

  /** Counts an element that is no object at its end, so that entries keep their numbers. */
  #readOther(byte: number): void {
    const ends = byte === COMMA || byte === CLOSE_ARRAY;
    if (ends && this.#inOther) {
      this.#number += 1;
      this.#onOther();
    }
    this.#inOther = !ends;
  }

  #open(array: boolean): void {
    if (this.#levels.length >= MOST_NESTED) throw new InputProblem('the JSON is nested too deeply');
    this.#levels.push({ array, key: null });
    if (array && this.#inArray()) this.#found = true;
  }

  #close(array: boolean): void {
    if (this.#levels.pop()?.array !== array)
      throw new InputProblem('not JSON: brackets do not match', { hint: OTHER_FORMAT });
    this.#over = this.#levels.length === 0;
  }

  /** Whether the next value is an element of the wanted array. */
  #inArray(): boolean {
    const levels = this.#levels;
    if (levels.length !== this.#path.length + 1 || levels.at(-1)?.array !== true) return false;
    return this.#path.every((key, at) => levels[at]?.key === key);
  }

  /** Reads a byte within a string. @returns false when it ends the string */
  #readString(byte: number | undefined): boolean {
    if (this.#escaped) this.#escaped = false;
    else if (byte === BACKSLASH) this.#escaped = true;
    else if (byte === QUOTE) this.#inString = false;
    return this.#inString;
  }
}

const CUT = { hint: 'The file is truncated: fetch or copy it again.' };

/**
 * Decodes base64, padded or not; null if it is invalid. Node skips invalid characters, so a damaged body
 * would become a shorter one.
 */
export function base64Bytes(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text.padEnd(Math.ceil(text.length / 4) * 4, '=') ? bytes : null;
}
