import { asBuffer } from '../../core/json-cursor.ts';
import { LIMITS } from '../../core/limits.ts';
import {
  type FieldType,
  fits,
  type MessageField,
  type MessageType,
  ProtobufCursor,
  scalarAt,
  typeOf,
  WIRE,
  WIRE_OF,
} from '../../core/protobuf.ts';
import { GRPC_PREFIX_BYTES, grpcMessagesOf } from '../../inference/grpc.ts';
import type { JsonScalar } from './edit-json.ts';
import { parsedText } from './new-ids.ts';

/** A new value for a text or a number, as a JSON literal; null to keep it. */
type Change = (value: JsonScalar) => string | null;

/** A place by the names that it has in JSON, and how its value changes. */
export interface PlaceEdit {
  readonly steps: readonly string[];
  readonly change: Change;
}

/**
 * Edits values in each message of a gRPC body. A message that becomes longer or shorter gets a new prefix. All other
 * bytes stay.
 * @param type of the messages; null if it is not known
 * @returns null if a message cannot be read: it is compressed, of no known type or broken
 */
export function editMessages(
  type: MessageType | null,
  body: Uint8Array,
  edits: readonly PlaceEdit[],
): { readonly body: Uint8Array; readonly changed: ReadonlySet<PlaceEdit> } | null {
  const { messages, end } = grpcMessagesOf(body, LIMITS.chunkTimesPerBody);
  if (type === null || end !== 'whole' || messages.some(({ compressed }) => compressed)) return null;
  const changed = new Set<PlaceEdit>();
  const edited = messages.map(({ from, to }) => {
    let content = asBuffer(body.subarray(from, to));
    for (const edit of edits) {
      const next = new MessageEdit(edit.change).message(type, content, edit.steps);
      if (next !== null) changed.add(edit);
      content = next ?? content;
    }
    const prefix = Buffer.alloc(GRPC_PREFIX_BYTES);
    prefix.writeUInt32BE(content.length, 1);
    return [prefix, content];
  });
  return { body: changed.size === 0 ? body : Buffer.concat(edited.flat()), changed };
}

class MessageEdit {
  readonly #change: Change;

  constructor(change: Change) {
    this.#change = change;
  }

  /** @returns the message with the new value; null if there is none */
  message(declared: MessageType, bytes: Buffer, steps: readonly string[]): Buffer | null {
    const type = typeOf(declared, bytes, 0, bytes.length);
    const [step = '', ...rest] = steps;
    const pieces: Uint8Array[] = [];
    let from = 0;
    let index = -1;
    const fields = new ProtobufCursor(bytes);
    for (let start = 0; fields.next(); start = fields.to) {
      const field = type.fields.get(fields.number);
      if (field === undefined || !fits(field, fields.wire)) continue;
      // Such a message stands for its value, so it has the place of it.
      const isNamed = type.isValue || field.name === step || field.alias === step;
      if (!isNamed) continue;
      index += 1;
      const value = bytes.subarray(fields.from, fields.to);
      const next = this.#field(field, value, type.isValue ? steps : rest, index);
      if (next === null) continue;
      pieces.push(bytes.subarray(from, start), varint(BigInt(fields.number) * 8n + BigInt(fields.wire)));
      if (fields.wire === WIRE.bytes) pieces.push(varint(BigInt(next.length)));
      pieces.push(next);
      from = fields.to;
    }
    if (pieces.length === 0 || fields.stoppedAt !== null) return null;
    return Buffer.concat([...pieces, bytes.subarray(from)]);
  }

  #field(field: MessageField, value: Buffer, steps: readonly string[], index: number): Buffer | null {
    const { message, repeated } = field;
    if (message?.isEntry === true) {
      const [key = '', ...rest] = steps;
      return keyOf(value) === key ? this.message(message, value, ['value', ...rest]) : null;
    }
    if (repeated) return steps[0] === `${index}` ? this.#value(field, value, steps.slice(1)) : null;
    return this.#value(field, value, steps);
  }

  #value({ type, message }: MessageField, value: Buffer, steps: readonly string[]): Buffer | null {
    if (message !== null)
      return steps.length > 0 || message.isValue ? this.message(message, value, steps) : null;
    if (steps.length > 0) return null;
    if (type === 'string') {
      const literal = this.#change({ literal: JSON.stringify(value.toString('utf8')), isText: true });
      return literal === null ? null : Buffer.from(parsedText(literal));
    }
    const isWhole = WIRE_OF[type] === WIRE.varint && type !== 'bool' && type !== 'enum';
    if (!isWhole) return null;
    const literal = this.#change({ literal: `${scalarAt(type, value, 0, value.length)}`, isText: false });
    return literal === null ? null : wholeBytes(type, BigInt(literal));
  }
}

/** The key of a map's entry, which is a text in all known messages. */
function keyOf(entry: Buffer): string {
  const fields = new ProtobufCursor(entry);
  let key = '';
  while (fields.next())
    if (fields.number === 1 && fields.wire === WIRE.bytes)
      key = entry.toString('utf8', fields.from, fields.to);
  return key;
}

const SMALL_TYPES: ReadonlySet<FieldType> = new Set(['int32', 'uint32', 'sint32']);

/** A new id may exceed 31 bits, and then loses its upper ones. It is never 0, which means none. */
function wholeBytes(type: FieldType, value: bigint): Buffer {
  const fitting = SMALL_TYPES.has(type) ? BigInt.asUintN(31, value) || 1n : value;
  const isSigned = type === 'sint32' || type === 'sint64';
  return varint(isSigned ? (fitting << 1n) ^ (fitting >> 63n) : fitting);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}
