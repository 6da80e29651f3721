import { isDeepStrictEqual } from 'node:util';
import { reasonOf } from '../core/errors.ts';
import { isJsonArray, isJsonObject, jsonEnd, jsonMember, jsonStart } from '../core/json-cursor.ts';
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

const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;

/**
 * Yields the objects of the array at a path of keys (`log`, `entries`), one by one. Of the document, only what
 * precedes the array and one item are in memory. What follows the array is not examined.
 * @param onOther called for each array element that is no object; it is skipped
 * @param itemBytes longest item, and most that may precede the array
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
  yield scanner.end();
}

class ItemScanner {
  readonly #path: readonly string[];
  readonly #onOther: () => void;
  readonly #itemBytes: number;
  #place: 'before' | 'within' | 'after' = 'before';
  #number = 0;
  /** What was not read yet. It is read when it has twice the bytes that were too few the last time. */
  #pieces: Buffer[] = [];
  #bytes = 0;
  #enoughBytes = 0;

  constructor(path: readonly string[], onOther: () => void, itemBytes: number) {
    this.#path = path;
    this.#onOther = onOther;
    this.#itemBytes = itemBytes;
  }

  take(chunk: Buffer): JsonItem[] {
    if (this.#place === 'after') return [];
    this.#pieces.push(chunk);
    this.#bytes += chunk.length;
    return this.#bytes < this.#enoughBytes ? [] : this.#read();
  }

  end(): JsonItem[] {
    const items = this.#read();
    if (this.#place === 'after') return items;
    const rest = Buffer.concat(this.#pieces);
    const start = jsonStart(rest);
    if (this.#place === 'before' && jsonEnd(rest, start) >= 0) {
      throw new InputProblem(`no array ${shown(this.#path.join('.'))}`, {
        hint: 'Is this the right format?',
      });
    }
    const isCutWithin = this.#place === 'within' && start >= 0;
    throw new InputProblem(
      isCutWithin ? `the file ends within entry ${this.#number + 1}` : 'the JSON ends too early',
      { hint: 'The file is truncated: fetch or copy it again.' },
    );
  }

  #read(): JsonItem[] {
    const text = Buffer.concat(this.#pieces);
    const items: JsonItem[] = [];
    const from = this.#place === 'before' ? this.#arrayIn(text) : 0;
    const end = this.#place === 'within' ? this.#itemsIn(text, from, items) : 0;
    const rest = text.subarray(end);
    if (rest.length > this.#itemBytes) {
      const what = this.#place === 'before' ? 'what precedes the entries' : `entry ${this.#number + 1}`;
      throw new InputProblem(`${what} has more than ${this.#itemBytes} bytes`);
    }
    this.#pieces = [rest];
    this.#bytes = rest.length;
    this.#enoughBytes = 2 * rest.length;
    return items;
  }

  /** Position after the bracket that opens the array; the place tells whether there is one yet. */
  #arrayIn(text: Buffer): number {
    const start = jsonStart(text);
    if (start < 0) return 0;
    if (text[start] !== OPEN_OBJECT && text[start] !== OPEN_ARRAY) {
      throw new InputProblem('not JSON', { line: 1, hint: OTHER_FORMAT });
    }
    const array = this.#path.reduce((at, key) => jsonMember(text, at, key), start);
    if (!isJsonArray(text, array)) return 0;
    this.#place = 'within';
    return array + 1;
  }

  /** Collects whole items. Returns the position of the first that is not whole. */
  #itemsIn(text: Buffer, from: number, items: JsonItem[]): number {
    let at = jsonStart(text, from);
    while (at >= 0) {
      if (text[at] === CLOSE_ARRAY) {
        this.#place = 'after';
        return text.length;
      }
      const end = text[at] === COMMA ? at + 1 : jsonEnd(text, at);
      if (end < 0) return at;
      if (text[at] !== COMMA) this.#take(text.subarray(at, end), items);
      at = jsonStart(text, end);
    }
    return text.length;
  }

  #take(bytes: Buffer, items: JsonItem[]): void {
    this.#number += 1;
    if (isJsonObject(bytes, 0)) items.push({ number: this.#number, bytes });
    else this.#onOther();
  }
}

/**
 * Decodes base64, padded or not; null if it is invalid. Node skips invalid characters, so a damaged body
 * would become a shorter one.
 */
export function base64Bytes(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text.padEnd(Math.ceil(text.length / 4) * 4, '=') ? bytes : null;
}
