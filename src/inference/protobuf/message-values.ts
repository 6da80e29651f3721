import { UnreadableBody } from '../../core/errors.ts';
import { asBuffer } from '../../core/json-cursor.ts';
import { LIMITS } from '../../core/limits.ts';
import {
  fits,
  isPacked,
  type MessageField,
  type MessageType,
  ProtobufCursor,
  scalarAt,
  type TensorFields,
  typeOf,
} from '../../core/protobuf.ts';
import type { Json, JsonObject } from './message-json.ts';
import { jsonNameOf } from './schema.ts';

/** Numbers of one type at `[from, to)` of a message. */
export interface MessageTensor {
  /** Where JSON over HTTP has them, or their field. */
  readonly place: readonly string[];
  /** As the Open Inference Protocol names it where it is a floating-point type. */
  readonly datatype: string;
  readonly from: number;
  readonly bytes: number;
}

/** A message as the values that the same API has over HTTP. */
export interface MessageValues {
  readonly head: JsonObject;
  /** What `head` does not contain: tensors, and packed lists of numbers. In the order of their places. */
  readonly tensors: readonly MessageTensor[];
}

/** @throws UnreadableBody when it is no message of this type to its end, or nests too deep */
export function messageValues(type: MessageType, bytes: Uint8Array): MessageValues {
  const reading = new ValuesReading(asBuffer(bytes));
  const head = reading.message(type, 0, bytes.length, []);
  const keyed = reading.tensors.map((tensor) => [tensor.place.join('/'), tensor] as const);
  keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  // Triton wraps the answers of streams.
  const { infer_response: wrapped, ...rest } = head;
  const isWrapped = typeof wrapped === 'object' && wrapped !== null && !Array.isArray(wrapped);
  const tensors = keyed.map(([, tensor]) =>
    isWrapped && tensor.place[0] === 'infer_response' ? { ...tensor, place: tensor.place.slice(1) } : tensor,
  );
  return { head: isWrapped ? { ...wrapped, ...rest } : head, tensors };
}

/** Types of floating-point numbers, as fields and as TensorFlow name them. */
const FLOATS: Readonly<Record<string, string>> = {
  float: 'FP32',
  double: 'FP64',
  DT_FLOAT: 'FP32',
  DT_DOUBLE: 'FP64',
  DT_HALF: 'FP16',
  DT_BFLOAT16: 'BF16',
};

class ValuesReading {
  readonly #bytes: Buffer;
  readonly tensors: MessageTensor[] = [];

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  message(declared: MessageType, from: number, to: number, place: readonly string[]): JsonObject {
    if (place.length > LIMITS.jsonDepth) throw new UnreadableBody('too_deep');
    const type = typeOf(declared, this.#bytes, from, to);
    // No name of a member may reach a prototype.
    const json = Object.create(null) as JsonObject;
    const data: Pick<MessageTensor, 'from' | 'bytes'>[] = [];
    const fields = new ProtobufCursor(this.#bytes, from, to);
    while (fields.next()) {
      const field = type.fields.get(fields.number);
      const isKnown = field !== undefined && fits(field, fields.wire);
      if (isKnown && fields.number === type.tensors?.data)
        data.push({ from: fields.from, bytes: fields.to - fields.from });
      else if (isKnown) this.#add(json, field, fields, place);
      else listIn(json, String(fields.number)).push(this.#bytes.toString('latin1', fields.from, fields.to));
    }
    if (fields.stoppedAt !== null) throw new UnreadableBody('not_protobuf');
    if (type.tensors !== null) this.#describe(type, type.tensors, json, data, place);
    return json;
  }

  #add(
    json: JsonObject,
    field: MessageField,
    { wire, from, to }: ProtobufCursor,
    place: readonly string[],
  ): void {
    const { type, repeated, message } = field;
    const name = nameOf(field);
    if (message?.isEntry === true) {
      const entry = this.#entry(message, from, to, [...place, name]);
      json[name] ??= Object.create(null) as JsonObject;
      (json[name] as JsonObject)[entry.key] = entry.value;
    } else if (isPacked(type, wire)) {
      this.#tensor([...place, name], type, { from, bytes: to - from });
      json[name] = null;
    } else if (repeated) {
      const list = listIn(json, name);
      list.push(this.#value(field, from, to, [...place, name, String(list.length)]));
    } else json[name] = this.#value(field, from, to, [...place, name]);
  }

  #entry(entry: MessageType, from: number, to: number, place: readonly string[]) {
    let [key, value]: [string, Json] = ['', null];
    const fields = new ProtobufCursor(this.#bytes, from, to);
    // The key comes first in what every library writes, and is needed for the places inside the value.
    while (fields.next()) {
      const field = entry.fields.get(fields.number);
      if (field === undefined || !fits(field, fields.wire)) throw new UnreadableBody('not_protobuf');
      const read = this.#value(field, fields.from, fields.to, [...place, key]);
      if (fields.number === 1) key = String(read);
      else value = read;
    }
    if (fields.stoppedAt !== null) throw new UnreadableBody('not_protobuf');
    return { key, value };
  }

  #value(field: MessageField, from: number, to: number, place: readonly string[]): Json {
    const { type, message, values } = field;
    if (message !== null) {
      const json = this.message(message, from, to, place);
      return message.isValue ? (Object.values(json).at(-1) ?? null) : json;
    }
    if (type === 'string') return this.#bytes.toString('utf8', from, to);
    if (type === 'bytes') return this.#bytes.toString('latin1', from, to);
    const value = scalarAt(type, this.#bytes, from, to);
    return type === 'enum' ? (values?.get(value as number) ?? value) : value;
  }

  #tensor(place: readonly string[], type: string, data: Pick<MessageTensor, 'from' | 'bytes'>): void {
    this.tensors.push({ place, datatype: FLOATS[type] ?? type, ...data });
  }

  /** Assigns plain data to the tensors that they belong to. */
  #describe(
    type: MessageType,
    { tensors, data: number, datatype }: TensorFields,
    json: JsonObject,
    data: readonly Pick<MessageTensor, 'from' | 'bytes'>[],
    place: readonly string[],
  ): void {
    if (data.length === 0) return;
    const own = type.fields.get(number);
    const ownPlace = [...place, own === undefined ? '' : nameOf(own)];
    if (tensors === 0) {
      const stated = type.fields.get(datatype);
      const named = stated === undefined ? '' : String(json[nameOf(stated)] ?? '');
      for (const each of data) this.#tensor(ownPlace, named, each);
      return;
    }
    const list = type.fields.get(tensors);
    const name = list === undefined ? '' : nameOf(list);
    const described = Array.isArray(json[name]) ? json[name] : [];
    const all = described.map((tensor, index) => ({ tensor, index }));
    // A tensor in shared memory has no data here.
    const carried = data.length === all.length ? all : all.filter(({ tensor }) => !isShared(tensor));
    for (const [at, each] of data.entries()) {
      const tensor = carried[at];
      if (carried.length !== data.length || tensor === undefined)
        this.#tensor([...ownPlace, String(at)], '', each);
      else {
        const stated = String((tensor.tensor as JsonObject)['datatype'] ?? '');
        this.#tensor([...place, name, String(tensor.index), 'data'], stated, each);
      }
    }
  }
}

function isShared(tensor: Json): boolean {
  const parameters = (tensor as JsonObject)['parameters'];
  return typeof parameters === 'object' && parameters !== null && 'shared_memory_region' in parameters;
}

function listIn(json: JsonObject, name: string): Json[] {
  json[name] ??= [];
  return json[name] as Json[];
}

/** The name that the API has over HTTP if that is another one, else the declared one. */
function nameOf({ name, alias }: MessageField): string {
  return alias === jsonNameOf(name) ? name : alias;
}
