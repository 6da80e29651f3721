import { closeSync, constants, createReadStream, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isatty, ReadStream } from 'node:tty';
import { isDeepStrictEqual } from 'node:util';
import { createGunzip, createInflate } from 'node:zlib';
import { ASCII } from '../core/ascii.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { isJsonArray, isJsonObject, jsonEnd, jsonMember, jsonStart } from '../core/json-cursor.ts';
import { LIMITS } from '../core/limits.ts';

const { LF, CR, COMMA, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE } = ASCII;

const UTF8_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
/** How files are packed, by their first two bytes. Zlib is mitmproxy's `.zhar`; none of these begins a text. */
const PACKINGS = new Map([
  ['1f8b', { name: 'gzip', open: createGunzip, hint: 'Check the file with gzip -t.' }],
  ...['7801', '789c', '78da'].map(
    (magic) =>
      [
        magic,
        { name: 'zlib', open: createInflate, hint: 'Check the file with pigz -dcz, or write it again.' },
      ] as const,
  ),
]);
/** Bytes read before deciding on the encoding: enough for the longest byte order mark or magic number. */
const LOOK_AHEAD_BYTES = 4;

/**
 * The bytes of a file, decompressed if it is gzip or zlib (by its first bytes, not its name). Pipes work too:
 * nothing is read twice.
 * @throws InputProblem when the file is unreadable, or its compressed data are damaged or truncated
 */
export async function* inputBytes(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const { head, rest } = await splitHead(fileBytes(path, signal));
  const packing = PACKINGS.get(head.subarray(0, 2).toString('hex'));
  if (packing === undefined) yield* joined(head, rest);
  else yield* unpacked(joined(head, rest), packing, signal);
}

/**
 * The bytes of a text file, without the byte order mark that some spreadsheets write.
 * @throws InputProblem when the file is empty or is UTF-16
 */
export async function* textBytes(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const { head, rest } = await splitHead(inputBytes(path, signal));
  if (head.length === 0) throw new InputProblem('the file is empty', { hint: NOTHING_IN_IT });
  const mark = head.subarray(0, 2).toString('hex');
  if (mark === 'fffe' || mark === 'feff') {
    throw new InputProblem('the text is UTF-16', { hint: 'Convert it to UTF-8, e.g. with iconv.' });
  }
  yield* joined(head.subarray(0, 3).equals(UTF8_MARK) ? head.subarray(3) : head, rest);
}

async function* fileBytes(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* (await inputStream(path, signal)) as AsyncIterable<Buffer>;
  } catch (thrown) {
    signal.throwIfAborted();
    throw new InputProblem(`cannot be read: ${reasonOf(thrown)}`, { cause: thrown });
  }
}

async function* unpacked(
  source: AsyncIterable<Buffer>,
  {
    name,
    open,
    hint,
  }: {
    readonly name: string;
    readonly open: typeof createGunzip | typeof createInflate;
    readonly hint: string;
  },
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  try {
    yield* through<Buffer>(source, open({ chunkSize: 64 * 1024 }));
  } catch (thrown) {
    signal.throwIfAborted();
    if (thrown instanceof InputProblem) throw thrown;
    const cut = (thrown as NodeJS.ErrnoException).code === 'Z_BUF_ERROR';
    throw new InputProblem(
      cut ? `the ${name} data end too early` : `not sound ${name}: ${reasonOf(thrown)}`,
      {
        hint: cut ? 'The file is truncated: fetch or copy it again.' : hint,
        cause: thrown,
      },
    );
  }
}

/** The output of a stream that reads a source. The source is closed if the consumer stops early. */
export async function* through<Item>(source: AsyncIterable<Buffer>, stream: Transform): AsyncGenerator<Item> {
  // The stream reports the same error, and the loop below throws it.
  const fed = pipeline(Readable.from(source), stream).catch(() => undefined);
  try {
    yield* stream as AsyncIterable<Item>;
  } finally {
    stream.destroy();
    await fed;
  }
}

/** Splits off the first bytes of a source, however it is chunked. */
export async function splitHead(
  source: AsyncGenerator<Buffer>,
): Promise<{ head: Buffer; rest: AsyncGenerator<Buffer> }> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < LOOK_AHEAD_BYTES) {
    const next = await source.next();
    if (next.done === true) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  return { head, rest: source };
}

export async function* joined(head: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  yield* rest;
}

/**
 * Opens a path as a stream that ends when the signal aborts. The event loop reads pipes and terminals. A pool
 * thread that blocks in a read would prevent the process from ending on a signal.
 */
async function inputStream(path: string, signal: AbortSignal): Promise<Readable> {
  // If stat fails, opening fails too and reports why.
  const found = await stat(path).catch(() => null);
  if (found?.isFIFO()) return new Socket({ fd: openedAtOnce(path), readable: true, writable: false, signal });
  if (found?.isCharacterDevice()) {
    const descriptor = openedAtOnce(path);
    if (isatty(descriptor)) return new ReadStream(descriptor, { signal });
    closeSync(descriptor);
  }
  return createReadStream(path, { signal, highWaterMark: 256 * 1024 });
}

/** Opens a named pipe without waiting for a writer. */
function openedAtOnce(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
}

export interface TextLine {
  /** From 1. */
  readonly number: number;
  /** Without its line end. */
  readonly bytes: Buffer;
}

/**
 * Splits bytes into lines (LF or CRLF), all lines of a chunk at once. Blank lines are counted and skipped.
 * @throws InputProblem for a line over the limit: a file without line ends must not be read into memory
 */
export async function* textLines(
  chunks: AsyncIterable<Buffer>,
  lineBytes: number = LIMITS.importLineBytes,
): AsyncGenerator<TextLine[]> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let number = 0;
  for await (const chunk of chunks) {
    const lines: TextLine[] = [];
    let start = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
      number += 1;
      pending.push(chunk.subarray(start, end));
      start = end + 1;
      const bytes = withoutCr(pending.length === 1 ? pending[0]! : Buffer.concat(pending));
      bound(bytes.length, number, lineBytes);
      if (!isBlank(bytes)) lines.push({ number, bytes });
      pending = [];
      pendingBytes = 0;
    }
    if (start < chunk.length) {
      pending.push(chunk.subarray(start));
      pendingBytes += chunk.length - start;
      bound(pendingBytes, number + 1, lineBytes);
    }
    if (lines.length > 0) yield lines;
  }
  const bytes = withoutCr(Buffer.concat(pending));
  if (!isBlank(bytes)) yield [{ number: number + 1, bytes }];
}

function bound(bytes: number, line: number, limit: number): void {
  if (bytes > limit) throw new InputProblem(`a line of more than ${limit} bytes`, { line });
}

function withoutCr(bytes: Buffer): Buffer {
  return bytes.at(-1) === CR ? bytes.subarray(0, -1) : bytes;
}

function isBlank(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0x20 && byte !== 0x09) return false;
  return true;
}

/** A problem with an input file whose name is not known at this level. */
export class InputProblem extends Error {
  /** From 1; null if it concerns the whole file. */
  readonly line: number | null;
  readonly hint: string | null;

  constructor(reason: string, options: { line?: number | null; hint?: string | null; cause?: unknown } = {}) {
    super(reason, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'InputProblem';
    this.line = options.line ?? null;
    this.hint = options.hint ?? null;
  }

  /** The same problem on this line, unless it already has a line. */
  at(line: number): InputProblem {
    return this.line === null ? this.#copy(this.message, line) : this;
  }

  /** A problem of the whole file (such as truncated gzip), with the last line that was read. */
  after(line: number): InputProblem {
    return this.line !== null || line === 0 ? this : this.#copy(`${this.message} (after line ${line})`, null);
  }

  /** The user's error: file, line, reason, hint. */
  toAppError(file: string): AppError {
    const place = this.line === null ? file : `${file}, line ${this.line}`;
    return new AppError('INPUT_INVALID', `${place}: ${this.message}`, { cause: this, hint: this.hint });
  }

  #copy(reason: string, line: number | null): InputProblem {
    return new InputProblem(reason, { line, cause: this, hint: this.hint });
  }
}

/** For a file with another format than stated. */
const OTHER_FORMAT = 'Pass a file of this format; reprise import --help lists the formats.';
/** For a file without anything to import. */
export const NOTHING_IN_IT = 'Check the program that wrote it: the file has nothing to import.';

/** Input text for a message: quoted and shortened. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}…` : text);
}

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

export function asObject(value: unknown): JsonObject | null {
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

/**
 * Yields the objects of the array at a path of keys (`log`, `entries`), one by one. Only one item, or the text
 * before the array, is in memory. The text after the array is not examined.
 * @param onOther called for each array element that is no object; it is skipped
 * @throws InputProblem when the document is truncated, is no JSON, or has no such array
 */
export async function* jsonItems(
  chunks: AsyncIterable<Buffer>,
  path: readonly string[],
  onOther: () => void = () => undefined,
): AsyncGenerator<JsonItem[]> {
  const scanner = new ItemScanner(path, onOther);
  for await (const chunk of chunks) {
    const items = scanner.take(chunk);
    if (items.length > 0) yield items;
  }
  yield scanner.end();
}

class ItemScanner {
  readonly #path: readonly string[];
  readonly #onOther: () => void;
  #place: 'before' | 'within' | 'after' = 'before';
  #number = 0;
  /** Bytes not parsed yet. They are parsed only after they have doubled, so that a long item costs linear time. */
  #pieces: Buffer[] = [];
  #bytes = 0;
  #enoughBytes = 0;

  constructor(path: readonly string[], onOther: () => void) {
    this.#path = path;
    this.#onOther = onOther;
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
    if (rest.length > LIMITS.importLineBytes) {
      const what = this.#place === 'before' ? 'what precedes the entries' : `entry ${this.#number + 1}`;
      throw new InputProblem(`${what} has more than ${LIMITS.importLineBytes} bytes`);
    }
    this.#pieces = [rest];
    this.#bytes = rest.length;
    this.#enoughBytes = 2 * rest.length;
    return items;
  }

  /** Position after the bracket that opens the array. `#place` tells whether it was found. */
  #arrayIn(text: Buffer): number {
    const start = jsonStart(text);
    if (start < 0) return 0;
    if (text[start] !== OPEN_BRACE && text[start] !== OPEN_BRACKET) {
      throw new InputProblem('not JSON', { line: 1, hint: OTHER_FORMAT });
    }
    const array = this.#path.reduce((at, key) => jsonMember(text, at, key), start);
    if (!isJsonArray(text, array)) return 0;
    this.#place = 'within';
    return array + 1;
  }

  /** Collects complete items. Returns the position of the first incomplete one. */
  #itemsIn(text: Buffer, from: number, items: JsonItem[]): number {
    let at = jsonStart(text, from);
    while (at >= 0) {
      if (text[at] === CLOSE_BRACKET) {
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
