import {
  type FieldType,
  type MessageField,
  type MessageType,
  type TensorFields,
  WIRE_OF,
} from '../../core/protobuf.ts';

/** One field before its message type is known. */
export interface FieldDefinition {
  readonly number: number;
  readonly name: string;
  /** Absent: the name that protobuf's JSON has. */
  readonly alias?: string;
  readonly type: FieldType;
  /** Full name of a message's or enum's type. */
  readonly of?: string;
  readonly repeated: boolean;
}

export interface MessageDefinition {
  readonly name: string;
  readonly fields: readonly FieldDefinition[];
  readonly isEntry?: boolean;
  readonly tensors?: TensorFields;
  /** Full name of the type of messages with other field numbers. */
  readonly otherwise?: string;
}

/** What a method takes and returns. */
export interface CallTypes {
  readonly request: MessageType;
  readonly response: MessageType;
  readonly streamsAnswer: boolean;
}

export interface MethodDefinition {
  /** `/package.Service/Method` */
  readonly path: string;
  /** Full names. */
  readonly request: string;
  readonly response: string;
  readonly streamsAnswer: boolean;
}

export interface SchemaDefinition {
  readonly messages: readonly MessageDefinition[];
  readonly enums: ReadonlyMap<string, ReadonlyMap<number, string>>;
  readonly methods: readonly MethodDefinition[];
}

/** Messages that stand for their value, as protobuf's JSON writes wrappers and OIP over HTTP writes parameters. */
const VALUE_TYPE = /^(?:google\.protobuf\.[A-Z][a-z]+(?:32|64)?Value|inference\.InferParameter)$/;

/** The calls whose messages can be read, by path. */
export class CallSchema {
  readonly #calls = new Map<string, CallTypes>();

  /** @param definitions of two definitions of one method, the later is used */
  constructor(definitions: readonly SchemaDefinition[]) {
    for (const definition of definitions) {
      const types = messageTypes(definition);
      for (const { path, request, response, streamsAnswer } of definition.methods) {
        const [asked, answered] = [types.get(request), types.get(response)];
        if (asked !== undefined && answered !== undefined)
          this.#calls.set(path, { request: asked, response: answered, streamsAnswer });
      }
    }
  }

  get paths(): readonly string[] {
    return [...this.#calls.keys()];
  }

  /** Null for an unknown method. */
  of(path: string): CallTypes | null {
    return this.#calls.get(path) ?? null;
  }
}

/** Types by full name. They may refer to each other in circles, so they are made first and filled then. */
function messageTypes({ messages, enums }: SchemaDefinition): ReadonlyMap<string, MessageType> {
  const made = new Map(
    messages.map((definition) => {
      const { name, isEntry = false, tensors = null } = definition;
      const fields = new Map<number, MessageField>();
      return [
        name,
        {
          name,
          fields,
          isEntry,
          isValue: VALUE_TYPE.test(name),
          tensors,
          otherwise: null as MessageType | null,
        },
      ];
    }),
  );
  for (const { name, fields, otherwise } of messages) {
    const type = made.get(name);
    if (type === undefined) continue;
    if (otherwise !== undefined) type.otherwise = made.get(otherwise) ?? null;
    for (const { number, name: field, alias, type: kind, of, repeated } of fields) {
      const message = kind === 'message' ? (made.get(of ?? '') ?? null) : null;
      // A field whose type is not known is an unknown field.
      if (kind === 'message' && message === null) continue;
      const values = kind === 'enum' ? (enums.get(of ?? '') ?? null) : null;
      type.fields.set(number, {
        name: field,
        alias: alias ?? jsonNameOf(field),
        type: kind,
        repeated,
        message,
        values,
      });
    }
  }
  return made;
}

/** `model_name` → `modelName` */
export function jsonNameOf(name: string): string {
  return name.replace(/_+([a-z0-9]|$)/gi, (_, letter: string) => letter.toUpperCase());
}

/** Messages of one package in short: field numbers, each with `[repeated|map] type name [alias]`. */
export type ShortMessages = Readonly<Record<string, Readonly<Record<number, string>>>>;

/** Reads messages in short. A map has texts as keys. Types that are neither of protobuf nor of an enum are messages. */
export function shortMessages(
  prefix: string,
  messages: ShortMessages,
  enums: SchemaDefinition['enums'],
  more: Readonly<Record<string, Pick<MessageDefinition, 'tensors' | 'otherwise'>>> = {},
): MessageDefinition[] {
  return Object.entries(messages).flatMap(([short, shortFields]) => {
    const name = fullName(prefix, short);
    const entries: MessageDefinition[] = [];
    const fields = Object.entries(shortFields).map(([number, text]): FieldDefinition => {
      const words = text.split(' ');
      const kind = words[0] === 'repeated' || words[0] === 'map' ? words.shift() : 'single';
      const [type = '', field = '', alias] = words;
      const typed = typeNamed(prefix, type, enums);
      const named = { number: Number(number), name: field, ...(alias === undefined ? {} : { alias }) };
      if (kind !== 'map') return { ...named, ...typed, repeated: kind === 'repeated' };
      const entry = `${name}.${field}`;
      const key = { number: 1, name: 'key', type: 'string', repeated: false } as const;
      entries.push({
        name: entry,
        fields: [key, { number: 2, name: 'value', ...typed, repeated: false }],
        isEntry: true,
      });
      return { ...named, type: 'message', of: entry, repeated: true };
    });
    return [{ name, fields, ...more[short] }, ...entries];
  });
}

function typeNamed(
  prefix: string,
  type: string,
  enums: SchemaDefinition['enums'],
): Pick<FieldDefinition, 'type' | 'of'> {
  if (Object.hasOwn(WIRE_OF, type)) return { type: type as FieldType };
  const of = fullName(prefix, type);
  return { type: enums.has(of) ? 'enum' : 'message', of };
}

function fullName(prefix: string, name: string): string {
  return name.includes('.') ? name : `${prefix}.${name}`;
}
