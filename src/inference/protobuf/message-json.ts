import { isUtf8 } from 'node:buffer';
import { LIMITS } from '../../core/limits.ts';
import {
  fits,
  isPacked,
  type MessageField,
  type MessageType,
  ProtobufCursor,
  packedEnd,
  scalarAt,
  typeOf,
  WIRE,
  WIRE_OF,
} from '../../core/protobuf.ts';

/** Longer lists and bytes are shown by their size. */
const SHOWN_ELEMENTS = 64;
const SHOWN_BYTES = 256;

export type Json = string | number | boolean | null | Json[] | JsonObject;
export interface JsonObject {
  [name: string]: Json;
}

/** A message in short, as JSON. */
export interface ShortMessage {
  readonly json: Readonly<JsonObject>;
  /** Where its bytes are no protobuf, or nest too deep: what follows is missing. Null if all was read. */
  readonly stoppedAt: number | null;
}

/**
 * A message as protobuf's JSON, with the names of its fields as they are declared. Parameters and wrappers are their
 * values, as over HTTP. Long lists and bytes are given by their size: `{"values": 1000}`. Fields of no known number have
 * it as their name, and the size of their value. Never throws.
 * @param type null: no field is known
 */
export function messageJson(
  type: MessageType | null,
  bytes: Uint8Array,
  from = 0,
  to: number = bytes.length,
): ShortMessage {
  const reading = new MessageReading(bytes);
  const json = reading.message(type === null ? UNKNOWN : type, from, to, 0);
  return { json, stoppedAt: reading.stoppedAt };
}

const UNKNOWN: MessageType = {
  name: '',
  fields: new Map(),
  isEntry: false,
  isValue: false,
  tensors: null,
  otherwise: null,
};

class MessageReading {
  readonly #bytes: Buffer;
  #values = 0;
  stoppedAt: number | null = null;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  message(declared: MessageType, from: number, to: number, depth: number): JsonObject {
    // No name of a member may reach a prototype.
    const json = Object.create(null) as JsonObject;
    const type = typeOf(declared, this.#bytes, from, to);
    const fields = new ProtobufCursor(this.#bytes, from, to);
    const counts = new Map<string, number>();
    while (this.#mayRead(depth, fields) && fields.next()) {
      const field = type.fields.get(fields.number);
      if (field === undefined || !fits(field, fields.wire)) json[fields.number] = unknownValue(fields);
      else this.#add(json, counts, field, fields, depth);
    }
    this.stoppedAt ??= fields.stoppedAt;
    for (const [name, values] of counts) json[name] = { values };
    return json;
  }

  #mayRead(depth: number, { from }: ProtobufCursor): boolean {
    this.#values += 1;
    if (this.#values > LIMITS.messageValues || depth > LIMITS.jsonDepth) this.stoppedAt ??= from;
    return this.stoppedAt === null;
  }

  /** @param counts lists that have become too long, with their lengths */
  #add(
    json: JsonObject,
    counts: Map<string, number>,
    field: MessageField,
    { wire, from, to }: ProtobufCursor,
    depth: number,
  ): void {
    const { name, type, repeated, message } = field;
    if (message?.isEntry === true) {
      const entry = this.message(message, from, to, depth + 1);
      json[name] ??= Object.create(null) as JsonObject;
      const map = json[name] as JsonObject;
      map[String(entry['key'] ?? '')] = entry['value'] ?? null;
      return;
    }
    if (!repeated) {
      json[name] = this.#value(field, from, to, depth);
      return;
    }
    json[name] ??= [];
    const list = json[name] as Json[];
    const elements = isPacked(type, wire) ? this.#packed(field, from, to) : 1;
    const before = counts.get(name) ?? list.length;
    if (before + elements > SHOWN_ELEMENTS) counts.set(name, before + elements);
    else if (isPacked(type, wire)) list.push(...this.#elements(field, from, to));
    else list.push(this.#value(field, from, to, depth));
  }

  /** Number of elements of a packed list. */
  #packed({ type }: MessageField, from: number, to: number): number {
    if (WIRE_OF[type] !== WIRE.varint)
      return Math.ceil((to - from) / (WIRE_OF[type] === WIRE.fixed64 ? 8 : 4));
    let elements = 0;
    for (let at = from; at < to; at += 1) if ((this.#bytes[at] as number) < 0x80) elements += 1;
    return elements;
  }

  *#elements(field: MessageField, from: number, to: number): Generator<Json> {
    for (let at = from; at < to; ) {
      const end = packedEnd(this.#bytes, WIRE_OF[field.type], at, to);
      if (end < 0) {
        this.stoppedAt ??= at;
        return;
      }
      yield scalar(field, this.#bytes, at, end);
      at = end;
    }
  }

  #value(field: MessageField, from: number, to: number, depth: number): Json {
    const { type, message } = field;
    if (message !== null) {
      const json = this.message(message, from, to, depth + 1);
      return message.isValue ? (Object.values(json).at(-1) ?? null) : json;
    }
    if (type === 'string') return this.#bytes.toString('utf8', from, to);
    if (type !== 'bytes') return scalar(field, this.#bytes, from, to);
    const text = to - from <= SHOWN_BYTES ? this.#bytes.subarray(from, to) : null;
    return text !== null && isUtf8(text) && !CONTROLS.test(text.toString('latin1'))
      ? text.toString('utf8')
      : { bytes: to - from };
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: bytes with them are no text
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f]/;

function scalar(field: MessageField, bytes: Uint8Array, from: number, to: number): Json {
  const value = scalarAt(field.type, bytes, from, to);
  if (field.type === 'enum') return field.values?.get(value as number) ?? value;
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

function unknownValue({ wire, from, to }: ProtobufCursor): Json {
  return wire === WIRE.varint ? { varint: to - from } : { bytes: to - from };
}
