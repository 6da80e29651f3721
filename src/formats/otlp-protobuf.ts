import { PbfReader } from 'pbf';
import { reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { InputProblem, type JsonObject } from './input.ts';

/** Types of fields on the wire. */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;

interface Field {
  readonly name: string;
  readonly type: number;
  readonly read: (reader: PbfReader) => unknown;
  readonly repeats: boolean;
}

type Message = Readonly<Record<number, Field>>;

const field = (name: string, type: number, read: Field['read'], repeats = false): Field => ({
  name,
  type,
  read,
  repeats,
});
const text = (name: string) => field(name, BYTES, (reader) => reader.readString());
const id = (name: string) => field(name, BYTES, (reader) => Buffer.from(reader.readBytes()).toString('hex'));
const whole = (name: string) => field(name, VARINT, (reader) => reader.readVarint(true));
const instant = (name: string) =>
  // A JavaScript number cannot represent current epoch nanoseconds exactly.
  field(name, FIXED64, (reader) => {
    reader.pos += 8;
    return String(reader.dataView.getBigUint64(reader.pos - 8, true));
  });
const one = (name: string, message: () => Message, repeats = false) =>
  field(name, BYTES, (reader) => fieldsOf(reader, message(), reader.readVarint() + reader.pos), repeats);
const many = (name: string, message: () => Message) => one(name, message, true);

/** The fields that are read: numbers and names from opentelemetry/proto/trace/v1/trace.proto and its imports. */
const VALUES = { 1: many('values', () => VALUE) };
const RECORD = { 1: many('values', () => ATTRIBUTE) };
const VALUE: Message = {
  1: text('stringValue'),
  2: field('boolValue', VARINT, (reader) => reader.readBoolean()),
  3: whole('intValue'),
  4: field('doubleValue', FIXED64, (reader) => reader.readDouble()),
  5: one('arrayValue', () => VALUES),
  6: one('kvlistValue', () => RECORD),
};
const ATTRIBUTE: Message = { 1: text('key'), 2: one('value', () => VALUE) };
const ATTRIBUTES = many('attributes', () => ATTRIBUTE);
const EVENT = { 1: instant('timeUnixNano'), 2: text('name'), 3: ATTRIBUTES };
const STATUS = { 3: whole('code') };
const SPAN = {
  1: id('traceId'),
  2: id('spanId'),
  4: id('parentSpanId'),
  5: text('name'),
  7: instant('startTimeUnixNano'),
  8: instant('endTimeUnixNano'),
  9: ATTRIBUTES,
  11: many('events', () => EVENT),
  15: one('status', () => STATUS),
};
const SCOPE = { 2: many('spans', () => SPAN) };
const RESOURCE = { 2: many('scopeSpans', () => SCOPE) };
const TRACES = { 1: many('resourceSpans', () => RESOURCE) };

function fieldsOf(reader: PbfReader, message: Message, end: number): JsonObject {
  const found: Record<string, unknown> = {};
  for (let tag = reader.nextField(end); tag !== 0; tag = reader.nextField(end)) {
    const { name, type, read, repeats } = message[tag] ?? {};
    if (name === undefined || read === undefined) continue;
    if (type !== reader.type) throw new Error(`${name} has another type`);
    const [value, before] = [read(reader), found[name]];
    if (Array.isArray(before)) before.push(value);
    else found[name] = repeats ? [value] : value;
  }
  if (reader.pos !== end) throw new Error('a field is longer than what holds it');
  return found;
}

const PREFIX_BYTES = 4;
const WHOLE_FILE = 'Fetch or copy the file again. It must hold traces alone, without `compression`.';

/**
 * Reads protobuf traces into the objects of OTLP's JSON. The input is one request of OTLP over HTTP, or the output
 * of the collector's file exporter: messages, each after its length (4 bytes, big-endian).
 * @returns null if the first bytes are not protobuf. @throws InputProblem
 */
export function protobufTraces(
  head: Buffer,
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<JsonObject> | null {
  const [first = 0, second = 0] = head;
  // 0x0a is the tag of field 1, but may also be a line end before JSON. A second byte above 0x7f is no JSON: it is
  // the length of a request of 128 bytes or more. A shorter request is too short for a call.
  if (first === 0x0a && second > 0x7f) return tracesIn(chunks, () => null);
  return first <= LIMITS.importLineBytes >> 24 ? tracesIn(chunks, lengthBefore) : null;
}

function lengthBefore(bytes: Buffer): number {
  return bytes.length < PREFIX_BYTES ? 0 : bytes.readUInt32BE();
}

/** @param lengthOf length of the first message in bytes; null if one message is the whole file */
async function* tracesIn(
  chunks: AsyncIterable<Buffer>,
  lengthOf: (bytes: Buffer) => number | null,
): AsyncGenerator<JsonObject> {
  let [held, heldBytes, wholeBytes, number]: [Buffer[], number, number, number] = [[], 0, PREFIX_BYTES, 1];
  for await (const chunk of chunks) {
    held.push(chunk);
    heldBytes += chunk.length;
    // Chunks are joined only when the message is complete. Otherwise each chunk would copy a long message again.
    if (heldBytes >= wholeBytes) {
      let rest = Buffer.concat(held);
      let length = lengthOf(rest);
      while (length !== null && rest.length >= PREFIX_BYTES + length) {
        yield traceIn(rest.subarray(PREFIX_BYTES, PREFIX_BYTES + length), number);
        rest = rest.subarray(PREFIX_BYTES + length);
        length = lengthOf(rest);
        number += 1;
      }
      [held, heldBytes] = [[rest], rest.length];
      wholeBytes = PREFIX_BYTES + (length ?? LIMITS.importLineBytes);
    }
    if (Math.max(wholeBytes - PREFIX_BYTES, heldBytes) > LIMITS.importLineBytes)
      throw new InputProblem(`message ${number} has more than ${LIMITS.importLineBytes} bytes`);
  }
  const rest = Buffer.concat(held);
  if (lengthOf(rest) === null) yield traceIn(rest, number);
  else if (rest.length > 0)
    throw new InputProblem(`the file ends within message ${number}`, { hint: WHOLE_FILE });
}

function traceIn(bytes: Buffer, number: number): JsonObject {
  try {
    return fieldsOf(new PbfReader(bytes), TRACES, bytes.length);
  } catch (thrown) {
    const reason = `message ${number} is no OTLP trace in protobuf: ${reasonOf(thrown)}`;
    throw new InputProblem(reason, { hint: WHOLE_FILE, cause: thrown });
  }
}
