/** Wire types: how the bytes of a field end. Groups (3 and 4) are refused; no server of models uses them. */
export const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
export type WireType = (typeof WIRE)[keyof typeof WIRE];

const MAX_VARINT_BYTES = 10;
const MAX_FIELD = 2 ** 29 - 1;

/**
 * Reads the fields of one message in place, in order. Keeps no value: `number`, `wire`, `from` and `to` describe the
 * current field. Never throws: at bytes that are no field it ends, and `stoppedAt` says where.
 */
export class ProtobufCursor {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #at: number;
  /** Number and wire type of the current field, and where its value is. A value of bytes is without its length. */
  number = 0;
  wire: WireType = WIRE.varint;
  from = 0;
  to = 0;
  /** Start of the field that is none; null if there was none so far. */
  stoppedAt: number | null = null;

  constructor(bytes: Uint8Array, from = 0, to: number = bytes.length) {
    this.#bytes = bytes;
    this.#at = from;
    this.#end = to;
  }

  /** Moves to the next field. @returns false at the end of the message, and where it is broken */
  next(): boolean {
    if (this.#at >= this.#end || this.stoppedAt !== null) return false;
    const start = this.#at;
    if (this.#field()) return true;
    this.stoppedAt = start;
    return false;
  }

  #field(): boolean {
    const tag = this.#length();
    const wire = tag % 8;
    this.number = Math.floor(tag / 8);
    if (this.number < 1 || this.number > MAX_FIELD) return false;
    this.from = this.#at;
    if (wire === WIRE.varint) this.to = varintEnd(this.#bytes, this.#at, this.#end);
    else if (wire === WIRE.fixed64) this.to = this.#at + 8;
    else if (wire === WIRE.fixed32) this.to = this.#at + 4;
    else if (wire === WIRE.bytes) {
      const length = this.#length();
      this.from = this.#at;
      this.to = length < 0 ? -1 : this.#at + length;
    } else return false;
    this.wire = wire;
    if (this.to < this.from || this.to > this.#end) return false;
    this.#at = this.to;
    return true;
  }

  /** A tag or a length; -1 if it is no varint. Too large ones stay too large. */
  #length(): number {
    const end = varintEnd(this.#bytes, this.#at, this.#end);
    if (end < 0) return -1;
    let value = 0;
    for (let at = end - 1; at >= this.#at; at -= 1)
      value = value * 128 + ((this.#bytes[at] as number) & 0x7f);
    this.#at = end;
    return value;
  }
}

/** Where the varint that starts here ends; -1 if it does not end before `limit`, or is too long. */
export function varintEnd(bytes: Uint8Array, from: number, limit: number): number {
  const last = Math.min(limit, from + MAX_VARINT_BYTES);
  for (let at = from; at < last; at += 1) if ((bytes[at] as number) < 0x80) return at + 1;
  return -1;
}

/** Where the element of a packed list that starts here ends; -1 if it is cut off. */
export function packedEnd(bytes: Uint8Array, wire: WireType, from: number, limit: number): number {
  if (wire === WIRE.varint) return varintEnd(bytes, from, limit);
  const end = from + (wire === WIRE.fixed64 ? 8 : 4);
  return end <= limit ? end : -1;
}

/** Types of fields as descriptors name them. */
export const WIRE_OF = {
  double: WIRE.fixed64,
  float: WIRE.fixed32,
  int64: WIRE.varint,
  uint64: WIRE.varint,
  int32: WIRE.varint,
  fixed64: WIRE.fixed64,
  fixed32: WIRE.fixed32,
  bool: WIRE.varint,
  string: WIRE.bytes,
  message: WIRE.bytes,
  bytes: WIRE.bytes,
  uint32: WIRE.varint,
  enum: WIRE.varint,
  sfixed32: WIRE.fixed32,
  sfixed64: WIRE.fixed64,
  sint32: WIRE.varint,
  sint64: WIRE.varint,
} as const satisfies Readonly<Record<string, WireType>>;
export type FieldType = keyof typeof WIRE_OF;

export interface MessageField {
  readonly name: string;
  /** The other name that pointers may use: the one of protobuf's JSON, or of the same value in the API over HTTP. */
  readonly alias: string;
  readonly type: FieldType;
  readonly repeated: boolean;
  /** Of a field that is a message. */
  readonly message: MessageType | null;
  /** Names of an enum's values, of those that are known. */
  readonly values: ReadonlyMap<number, string> | null;
}

/** Where a message has tensors whose data are plain bytes. Field numbers. */
export interface TensorFields {
  /** Messages that describe the tensors, and the list of their bytes in the same order; 0 where they are one message. */
  readonly tensors: number;
  readonly data: number;
  /** In the description: the type of data, a text or an enum, and parameters. 0: it has none. */
  readonly datatype: number;
  readonly parameters: number;
  /** Fields beside the data that say how to read them. */
  readonly structure: readonly number[];
  /** The field that has the data of a type if they are not plain bytes; empty if there is none. */
  readonly contents: Readonly<Record<string, string>>;
}

/** What is known of a message: its fields by number. */
export interface MessageType {
  readonly name: string;
  readonly fields: ReadonlyMap<number, MessageField>;
  /** An entry of a map: its key is field 1, its value field 2. */
  readonly isEntry: boolean;
  /** Whether it stands for its only value, as protobuf's wrappers do in JSON. */
  readonly isValue: boolean;
  readonly tensors: TensorFields | null;
  /** The type of messages that have field numbers that this one does not have. */
  readonly otherwise: MessageType | null;
}

/** The type that a message has, by the numbers of its fields. */
export function typeOf(type: MessageType, bytes: Uint8Array, from: number, to: number): MessageType {
  if (type.otherwise === null) return type;
  const fields = new ProtobufCursor(bytes, from, to);
  while (fields.next()) if (!type.fields.has(fields.number)) return type.otherwise;
  return type;
}

/** Whether a field of this wire type may be of this type: a list of numbers comes packed or one by one. */
export function fits({ type, repeated }: MessageField, wire: WireType): boolean {
  return WIRE_OF[type] === wire || (repeated && isPacked(type, wire));
}

/** Whether this is a packed list. */
export function isPacked(type: FieldType, wire: WireType): boolean {
  return wire === WIRE.bytes && WIRE_OF[type] !== WIRE.bytes;
}

/** A number or truth value at `[from, to)`. Integers that a double cannot hold are texts, as in protobuf's JSON. */
export function scalarAt(
  type: FieldType,
  bytes: Uint8Array,
  from: number,
  to: number,
): number | string | boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset + from, to - from);
  switch (type) {
    case 'double':
      return view.getFloat64(0, true);
    case 'float':
      return view.getFloat32(0, true);
    case 'fixed32':
      return view.getUint32(0, true);
    case 'sfixed32':
      return view.getInt32(0, true);
    case 'fixed64':
      return whole(view.getBigUint64(0, true));
    case 'sfixed64':
      return whole(view.getBigInt64(0, true));
    case 'bool':
      return varintAt(bytes, from, to) !== 0n;
    case 'uint64':
      return whole(varintAt(bytes, from, to));
    case 'uint32':
      return Number(BigInt.asUintN(32, varintAt(bytes, from, to)));
    case 'int64':
      return whole(BigInt.asIntN(64, varintAt(bytes, from, to)));
    case 'sint32':
    case 'sint64': {
      const value = varintAt(bytes, from, to);
      return whole((value >> 1n) ^ -(value & 1n));
    }
    default:
      return Number(BigInt.asIntN(32, varintAt(bytes, from, to)));
  }
}

function varintAt(bytes: Uint8Array, from: number, to: number): bigint {
  let value = 0n;
  for (let at = to - 1; at >= from; at -= 1) value = (value << 7n) | BigInt((bytes[at] as number) & 0x7f);
  return BigInt.asUintN(64, value);
}

function whole(value: bigint): number | string {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : `${value}`;
}
