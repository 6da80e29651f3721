import { decodeContent } from '../../core/content-coding.ts';
import { UnreadableBody } from '../../core/errors.ts';
import { asBuffer } from '../../core/json-cursor.ts';
import { LIMITS } from '../../core/limits.ts';
import { type MessageType, ProtobufCursor, typeOf } from '../../core/protobuf.ts';
import { GRPC_PREFIX_BYTES, GrpcMessages } from '../grpc.ts';
import { type Json, type JsonObject, messageJson } from './message-json.ts';
import type { CallTypes } from './schema.ts';

/** What the first message of a request says. */
export interface CallFacts {
  readonly model: string | null;
  /** Rows of its first tensor, or examples. */
  readonly batch: number | null;
}

const MODEL_CHARS = 200;

/**
 * The first message of a body in short. Null if it cannot be read.
 * @param body its start
 * @param coding `grpc-encoding`
 */
export function firstMessage(
  type: MessageType | null,
  body: Buffer,
  coding: string | null,
): Readonly<JsonObject> | null {
  if (type === null || body.length < GRPC_PREFIX_BYTES || (body[0] as number) > 1) return null;
  const content = body.subarray(GRPC_PREFIX_BYTES, GRPC_PREFIX_BYTES + body.readUInt32BE(1));
  const plain = plainMessage(content, body[0] === 1, coding);
  return plain === null ? null : messageJson(type, plain).json;
}

/** A message without its compression; null if that is unknown or wrong, or hides more than is read. */
export function plainMessage(content: Uint8Array, compressed: boolean, coding: string | null): Buffer | null {
  if (!compressed) return asBuffer(content);
  try {
    const { bytes, coded } = decodeContent(content, coding, LIMITS.decodedBodyFloorBytes);
    return coded ? asBuffer(bytes) : null;
  } catch (error) {
    if (error instanceof UnreadableBody) return null;
    throw error;
  }
}

/** Model and batch of a request, by the names that the known services and most others have for them. */
export function callFacts(message: Readonly<JsonObject>): CallFacts {
  const model = message['model_name'] ?? member(message['model_spec'], 'name') ?? message['model'];
  const named = typeof model === 'string' && model !== '' ? model.slice(0, MODEL_CHARS) : null;
  return { model: named, batch: rowsOf(message['inputs']) ?? examplesOf(message['input']) };
}

/** The first dimension of the first tensor: of a list in OIP, of a map in TensorFlow Serving. */
function rowsOf(inputs: Json | undefined): number | null {
  if (typeof inputs !== 'object' || inputs === null) return null;
  const first = Array.isArray(inputs) ? inputs[0] : Object.values(inputs)[0];
  const shape = member(first, 'shape') ?? member(member(first, 'tensor_shape'), 'dim');
  const rows = Array.isArray(shape) ? shape[0] : undefined;
  return count(typeof rows === 'object' ? member(rows, 'size') : rows);
}

function examplesOf(input: Json | undefined): number | null {
  const list = member(input, 'example_list') ?? member(input, 'example_list_with_context');
  const examples = member(list, 'examples');
  return Array.isArray(examples) ? examples.length : count(member(examples, 'values'));
}

function member(value: Json | undefined, name: string): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value[name] : undefined;
}

function count(value: Json | undefined): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

/** The field in which an answer says that it is an error although its status is OK. */
const ERROR_FIELD = 'error_message';
/** Longer answers are no errors. */
const HELD_BYTES = 8 * 1024;

/**
 * Detects a call that ended with status OK and is still an error, while its answer passes: a message of a stream has an
 * `error_message`, as Triton's have, or a method that does not stream sent no message.
 */
export class CallErrorScan {
  readonly #type: MessageType;
  readonly #streams: boolean;
  readonly #coding: string | null;
  readonly #messages: GrpcMessages;
  readonly #errorField: number | null;
  /** The bytes that are being written, from those on that have not been taken. */
  #rest: Buffer = EMPTY;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #found = false;

  /** @param coding `grpc-encoding` of the answer */
  constructor({ response, streamsAnswer }: CallTypes, coding: string | null) {
    this.#type = response;
    this.#streams = streamsAnswer;
    this.#coding = coding;
    this.#errorField = errorFieldOf(response);
    this.#messages = new GrpcMessages((bytes, _begins, ends) => this.#piece(bytes, ends));
  }

  /** Upper bound of the memory of one scan. */
  static heldBytes({ response }: CallTypes): number {
    return errorFieldOf(response) === null ? 0 : HELD_BYTES + GRPC_PREFIX_BYTES;
  }

  /** Takes the next bytes; they are copied or dropped. */
  write(bytes: Buffer): void {
    this.#rest = bytes;
    this.#messages.write(bytes);
    this.#rest = EMPTY;
  }

  /** To be called once, when the answer is complete. Null if it cannot be known. */
  finish(): boolean | null {
    const { broken, inside, ended } = this.#messages;
    if (broken || inside) return null;
    return this.#found || (!this.#streams && ended === 0);
  }

  #piece(bytes: number, ends: boolean): void {
    const piece = this.#rest.subarray(0, bytes);
    this.#rest = this.#rest.subarray(bytes);
    if (this.#errorField === null || this.#found) return;
    const room = HELD_BYTES + GRPC_PREFIX_BYTES - this.#heldBytes;
    this.#heldBytes += bytes;
    if (ends && bytes <= room) this.#found = this.#isError(Buffer.concat([...this.#held, piece]));
    else if (!ends && room > 0) this.#held.push(Buffer.from(piece.subarray(0, room)));
    if (ends) [this.#held, this.#heldBytes] = [[], 0];
  }

  #isError(message: Buffer): boolean {
    const content = message.subarray(GRPC_PREFIX_BYTES);
    const plain = plainMessage(content, message[0] === 1, this.#coding);
    if (plain === null || typeOf(this.#type, plain, 0, plain.length) !== this.#type) return false;
    const fields = new ProtobufCursor(plain);
    while (fields.next()) if (fields.number === this.#errorField && fields.to > fields.from) return true;
    return false;
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

function errorFieldOf({ fields }: MessageType): number | null {
  for (const [number, { name, type }] of fields) if (name === ERROR_FIELD && type === 'string') return number;
  return null;
}
