import { AppError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { type FieldType, ProtobufCursor, scalarAt, WIRE } from '../../core/protobuf.ts';
import type { FieldDefinition, MessageDefinition, MethodDefinition, SchemaDefinition } from './schema.ts';

/** Field types by their number in descriptors, from 1. Groups are refused where they occur. */
const TYPES: readonly (FieldType | null)[] = [
  ...([
    null,
    'double',
    'float',
    'int64',
    'uint64',
    'int32',
    'fixed64',
    'fixed32',
    'bool',
    'string',
    null,
  ] as const),
  ...(['message', 'bytes', 'uint32', 'enum', 'sfixed32', 'sfixed64', 'sint32', 'sint64'] as const),
];
const REPEATED = 3;

/** The numbers of the fields that are read, from `google/protobuf/descriptor.proto` (BSD-3-Clause). */
const FILE = 1;
const FILE_FIELDS = { package: 2, message: 4, enumeration: 5, service: 6 };
const MESSAGE_FIELDS = { name: 1, field: 2, nested: 3, enumeration: 4, options: 7 };
const MAP_ENTRY = 7;
const FIELD_FIELDS = { name: 1, number: 3, label: 4, type: 5, typeName: 6, jsonName: 10 };
const ENUM_FIELDS = { name: 1, value: 2 };
const VALUE_FIELDS = { name: 1, number: 2 };
const SERVICE_FIELDS = { name: 1, method: 2 };
const METHOD_FIELDS = { name: 1, input: 2, output: 3, streamsAnswer: 6 };

const HOW_TO = 'Write one with: protoc --include_imports -o FILE your.proto, or buf build -o FILE.';

/**
 * Reads a FileDescriptorSet, as `protoc -o` and `buf build -o` write it.
 * @param file for messages
 * @throws AppError OPTION_INVALID for anything else, and for one without a service or without its imports
 */
export function parseDescriptorSet(bytes: Uint8Array, file: string): SchemaDefinition {
  const invalid = (reason: string, hint = HOW_TO) =>
    new AppError('OPTION_INVALID', `${file} is no descriptor set: ${reason}`, { hint });
  if (bytes.length === 0) throw invalid('it is empty');
  if (bytes.length > LIMITS.descriptorSetBytes)
    throw invalid(`it has more than ${LIMITS.descriptorSetBytes} bytes`);
  const reading = new DescriptorReading(bytes);
  const set = new ProtobufCursor(bytes);
  while (set.next()) {
    if (set.number !== FILE || set.wire !== WIRE.bytes)
      throw invalid(`field ${set.number} at byte ${set.from} is none of it`);
    reading.file(set.from, set.to);
  }
  const stoppedAt = set.stoppedAt ?? reading.stoppedAt;
  if (stoppedAt !== null) {
    const text = Buffer.from(bytes.subarray(0, 4_096)).toString('latin1');
    const isSource = /\b(?:syntax\s*=|message\s+\w+\s*\{|service\s+\w+\s*\{)/.test(text);
    throw invalid(isSource ? 'it is the text of a .proto file' : `byte ${stoppedAt} is no protobuf`);
  }
  const { messages, methods } = reading;
  if (methods.length === 0)
    throw invalid('no file in it has a service', 'Name the .proto file of the service too.');
  const names = new Set(messages.map(({ name }) => name));
  const missing = methods
    .flatMap(({ request, response }) => [request, response])
    .find((name) => !names.has(name));
  if (missing !== undefined)
    throw invalid(
      `message ${missing} is not in it`,
      'Add the imports: protoc --include_imports -o FILE your.proto.',
    );
  return { messages, enums: reading.enums, methods };
}

/** A message of a descriptor: its fields, those that occur more than once in order. */
type Read = ReadonlyMap<number, readonly { readonly from: number; readonly to: number }[]>;

class DescriptorReading {
  readonly #bytes: Buffer;
  readonly messages: MessageDefinition[] = [];
  readonly enums = new Map<string, ReadonlyMap<number, string>>();
  readonly methods: MethodDefinition[] = [];
  stoppedAt: number | null = null;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  file(from: number, to: number): void {
    const file = this.#read(from, to);
    const scope = this.#text(file, FILE_FIELDS.package);
    for (const message of file.get(FILE_FIELDS.message) ?? []) this.#message(message, scope, 0);
    for (const named of file.get(FILE_FIELDS.enumeration) ?? []) this.#enum(named, scope);
    for (const service of file.get(FILE_FIELDS.service) ?? []) this.#service(service, scope);
  }

  #message({ from, to }: { from: number; to: number }, scope: string, depth: number): void {
    if (depth >= LIMITS.jsonDepth) {
      this.stoppedAt ??= from;
      return;
    }
    const message = this.#read(from, to);
    const name = within(scope, this.#text(message, MESSAGE_FIELDS.name));
    const options = (message.get(MESSAGE_FIELDS.options) ?? []).map((each) => this.#read(each.from, each.to));
    const fields = (message.get(MESSAGE_FIELDS.field) ?? []).flatMap((field) => this.#field(field));
    this.messages.push({
      name,
      fields,
      isEntry: options.some((each) => this.#number(each, MAP_ENTRY) === 1),
    });
    for (const nested of message.get(MESSAGE_FIELDS.nested) ?? []) this.#message(nested, name, depth + 1);
    for (const named of message.get(MESSAGE_FIELDS.enumeration) ?? []) this.#enum(named, name);
  }

  #field({ from, to }: { from: number; to: number }): FieldDefinition[] {
    const field = this.#read(from, to);
    const type = TYPES[this.#number(field, FIELD_FIELDS.type)] ?? null;
    const name = this.#text(field, FIELD_FIELDS.name);
    // A group: messages that contain one cannot be read past it, and say so then.
    if (type === null) return [];
    const alias = this.#text(field, FIELD_FIELDS.jsonName);
    return [
      {
        number: this.#number(field, FIELD_FIELDS.number),
        name,
        type,
        of: this.#text(field, FIELD_FIELDS.typeName).replace(/^\./, ''),
        repeated: this.#number(field, FIELD_FIELDS.label) === REPEATED,
        ...(alias === '' ? {} : { alias }),
      },
    ];
  }

  #enum({ from, to }: { from: number; to: number }, scope: string): void {
    const named = this.#read(from, to);
    const values = (named.get(ENUM_FIELDS.value) ?? []).map((value): [number, string] => {
      const read = this.#read(value.from, value.to);
      return [this.#number(read, VALUE_FIELDS.number), this.#text(read, VALUE_FIELDS.name)];
    });
    this.enums.set(within(scope, this.#text(named, ENUM_FIELDS.name)), new Map(values));
  }

  #service({ from, to }: { from: number; to: number }, scope: string): void {
    const service = this.#read(from, to);
    const name = within(scope, this.#text(service, SERVICE_FIELDS.name));
    for (const { from: start, to: end } of service.get(SERVICE_FIELDS.method) ?? []) {
      const method = this.#read(start, end);
      this.methods.push({
        path: `/${name}/${this.#text(method, METHOD_FIELDS.name)}`,
        request: this.#text(method, METHOD_FIELDS.input).replace(/^\./, ''),
        response: this.#text(method, METHOD_FIELDS.output).replace(/^\./, ''),
        streamsAnswer: this.#number(method, METHOD_FIELDS.streamsAnswer) === 1,
      });
    }
  }

  #read(from: number, to: number): Read {
    const found = new Map<number, { from: number; to: number }[]>();
    const fields = new ProtobufCursor(this.#bytes, from, to);
    while (fields.next()) {
      const before = found.get(fields.number);
      if (before === undefined) found.set(fields.number, [{ from: fields.from, to: fields.to }]);
      else before.push({ from: fields.from, to: fields.to });
    }
    this.stoppedAt ??= fields.stoppedAt;
    return found;
  }

  #text(read: Read, number: number): string {
    const last = read.get(number)?.at(-1);
    return last === undefined ? '' : this.#bytes.toString('utf8', last.from, last.to);
  }

  #number(read: Read, number: number): number {
    const last = read.get(number)?.at(-1);
    if (last === undefined || last.to === last.from || last.to - last.from > 10) return 0;
    return Number(scalarAt('int32', this.#bytes, last.from, last.to));
  }
}

function within(scope: string, name: string): string {
  return scope === '' ? name : `${scope}.${name}`;
}
