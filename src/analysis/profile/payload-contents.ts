import { BMP } from 'image-size/types/bmp';
import { GIF } from 'image-size/types/gif';
import { JPG } from 'image-size/types/jpg';
import { PNG } from 'image-size/types/png';
import { WEBP } from 'image-size/types/webp';
import { decodeContent } from '../../core/content-coding.ts';
import { UnreadableBody } from '../../core/errors.ts';
import type { ExchangePayload, ExchangeRow } from '../../core/exchange.ts';
import { headerPairsOf } from '../../core/headers.ts';
import { boundaryOf, partsOf } from '../../core/multipart.ts';
import { bytesPerToken } from '../../core/token-estimate.ts';
import { isEventStream, isJson, isJsonLines } from '../../inference/features.ts';
import { isGrpc, parseGrpcTimeoutUs } from '../../inference/grpc.ts';
import { firstMessage } from '../../inference/protobuf/call-facts.ts';
import { knownCall } from '../../inference/protobuf/known-services.ts';
import { EventData } from '../../inference/stream-events.ts';

/** Larger JSON is not parsed, because the cost is too high. */
const MAX_JSON_BYTES = 4 * 1024 * 1024;
const INFERENCE_HEADER = 'inference-header-content-length';

/** A recorded request with a readable body. */
export interface ReadableRequest {
  readonly row: ExchangeRow;
  /** In lower case, without parameters; empty if there is no content type. */
  readonly mediaType: string;
  readonly contentType: string;
  /** Without content coding. */
  readonly body: Buffer;
  /** The parsed body; undefined if it is no JSON or too large. In Triton's binary form, the JSON before the tensors. */
  readonly json: unknown;
  /** The bytes after the JSON in Triton's binary form. */
  readonly tensors: Buffer | null;
  /** Whether it is a gRPC call. Then its JSON is its first message in short, if its fields are known. */
  readonly isCall: boolean;
  /** Its `grpc-timeout`; null without one. */
  readonly deadlineUs: number | null;
  /** Whether the request declares itself a retry, as clients of model servers do. */
  readonly saysRetry: boolean;
}

/** Why a body was not read. */
type Unread = 'no_body_kept' | 'truncated' | 'unreadable_coding';

/** The request of a payload, or why it cannot be read. Never throws, for any bytes. */
export function readableRequest(row: ExchangeRow, { request }: ExchangePayload): ReadableRequest | Unread {
  const decoded = decodedMessage(request);
  if (typeof decoded === 'string') return decoded;
  const { headers, body } = decoded;
  const contentType = headers.get('content-type') ?? '';
  const isCall = isGrpc(contentType);
  const jsonBytes = jsonLengthOf(headers.get(INFERENCE_HEADER), body.length);
  return {
    row,
    contentType,
    mediaType: contentType.split(';')[0]!.trim().toLowerCase(),
    body,
    json: isCall
      ? callOf(row, body, headers.get('grpc-encoding') ?? null)
      : parsed(jsonBytes === null ? body : body.subarray(0, jsonBytes)),
    isCall,
    deadlineUs: isCall ? parseGrpcTimeoutUs(headers.get('grpc-timeout') ?? null) : null,
    tensors: jsonBytes === null ? null : body.subarray(jsonBytes),
    saysRetry: Number(headers.get('x-stainless-retry-count') ?? headers.get('x-retry-count') ?? 0) > 0,
  };
}

function callOf({ route }: ExchangeRow, body: Buffer, coding: string | null): unknown {
  return firstMessage(knownCall(route ?? '')?.request ?? null, body, coding) ?? undefined;
}

/** The headers of a message, by lower-case name, and its body without content coding. */
function decodedMessage(message: ExchangePayload['request'] | ExchangePayload['response']) {
  if (message === null || message.body.kept === null) return 'no_body_kept';
  if (message.body.truncated) return 'truncated';
  const headers = new Map(headerPairsOf(message.head).map(([name, value]) => [name.toLowerCase(), value]));
  try {
    const { bytes } = decodeContent(message.body.kept, headers.get('content-encoding') ?? null);
    return { headers, body: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
  } catch (error) {
    if (!(error instanceof UnreadableBody)) throw error;
    return 'unreadable_coding';
  }
}

function jsonLengthOf(header: string | undefined, bodyBytes: number): number | null {
  const length = header === undefined ? Number.NaN : Number(header);
  return Number.isSafeInteger(length) && length >= 0 && length <= bodyBytes ? length : null;
}

function parsed(json: Buffer): unknown {
  const first = json.find((byte) => byte > 0x20);
  if ((first !== 0x7b && first !== 0x5b) || json.length > MAX_JSON_BYTES) return undefined;
  try {
    return JSON.parse(json.toString('utf8'));
  } catch {
    // Not JSON after all: nothing about its content is reported.
    return undefined;
  }
}

/** The value under a key of a JSON object; undefined for anything else. */
function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

/** Deeper nesting and further values are ignored. */
const MAX_DEPTH = 12;
const MAX_VALUES = 100_000;

/** Visits a JSON value and the values in it, in order. @param keys which members of objects to visit; null for all */
function visitJson(root: unknown, keys: readonly string[] | null, visit: (value: unknown) => void): void {
  let visited = 0;
  const follow = (value: unknown, depth: number): void => {
    if (value === undefined || depth > MAX_DEPTH || visited >= MAX_VALUES) return;
    visited += 1;
    visit(value);
    if (typeof value !== 'object' || value === null) return;
    // Arrays of numbers are skipped: a tensor has very many, and they contain nothing of interest.
    if (Array.isArray(value) && typeof value[0] === 'number') return;
    const inner =
      Array.isArray(value) || keys === null ? Object.values(value) : keys.map((key) => member(value, key));
    for (const each of inner) follow(each, depth + 1);
  };
  follow(root, 0);
}

/** The size of a prompt in tokens. */
interface PromptWeight {
  readonly tokens: number;
  /** Whether the prompt has token ids, which were counted. Otherwise the number is estimated from the text. */
  readonly counted: boolean;
}

const PROMPT_KEYS = [
  'messages',
  'system',
  'instructions',
  'prompt',
  'input',
  'inputs',
  'text_input',
  'query',
  'documents',
];
/** Keys of the text in messages and documents. */
const CONTENT_KEYS = ['content', 'text', 'arguments', 'output'];
const LIMIT_PATHS: readonly (readonly string[])[] = [
  ['max_completion_tokens'],
  ['max_tokens'],
  ['max_output_tokens'],
  ['max_new_tokens'],
  ['n_predict'],
  ['parameters', 'max_new_tokens'],
  ['parameters', 'max_tokens'],
  ['options', 'num_predict'],
];

/** Tokens of the prompt or prompts of a JSON request; null if it has no text. */
export function promptWeight(json: unknown): PromptWeight | null {
  let estimated = 0;
  let counted = 0;
  const prompts = PROMPT_KEYS.map((key) => member(json, key));
  visitJson(prompts, CONTENT_KEYS, (value) => {
    if (typeof value === 'string') estimated += isEncoded(value) ? 0 : estimatedTokens(value);
    else if (Array.isArray(value) && value.every(Number.isSafeInteger)) counted += value.length;
  });
  if (estimated + counted === 0) return null;
  return { tokens: Math.round(estimated + counted), counted: estimated === 0 };
}

/** The limit of answer tokens in a request; null if it has none. */
export function maxTokensOf(json: unknown): number | null {
  for (const path of LIMIT_PATHS) {
    const value = path.reduce<unknown>((inner, name) => member(inner, name), json);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  }
  return null;
}

/** Estimates the tokens of a text with `bytesPerToken`, whose error is within a quarter for real vocabularies. */
function estimatedTokens(text: string): number {
  if (text === '') return 0;
  const escaped = Buffer.from(JSON.stringify(text));
  // Without the quotes, because the estimate is for the inside of a JSON string.
  const bytes = escaped.length - 2;
  return bytes <= 0 ? 0 : bytes / bytesPerToken(escaped, 1, escaped.length - 1);
}

/** Whether a text is base64, such as a picture. It has no tokens to count. */
function isEncoded(text: string): boolean {
  return text.startsWith('data:') || (text.length >= 256 && /^[A-Za-z0-9+/_-]{256}/.test(text));
}

/** A picture in a request. */
interface FoundImage {
  /** Null if the request has only its address. */
  readonly bytes: number | null;
  readonly header: ImageHeader | null;
}

/** Figures of a form. */
interface FormFigures {
  readonly parts: number;
  readonly partBytes: readonly number[];
}

const MAX_IMAGES = 1_000;
/** Bytes that contain the header of most pictures, even with camera metadata. */
const HEADER_BYTES = 64 * 1024;
const LEAST_BASE64 = 64;
const DATA_URL = /^data:image\/[a-z0-9.+-]{1,40};base64,/i;
/** The beginning of a PNG, JPEG, GIF, WebP or BMP in base64. */
const ENCODED_IMAGE = /^(?:iVBORw0KGgo|\/9j\/|_9j_|R0lGOD|UklGR|Qk[0-3])/;

/** The pictures of a request: in JSON as base64 or by address, in a form, in a BYTES tensor, or as the body. */
export function imagesOf(request: ReadableRequest): FoundImage[] {
  const { json, tensors, body, mediaType } = request;
  if (mediaType === 'multipart/form-data') return formParts(request).flatMap(imageIn);
  if (json === undefined) return imageIn(body);
  const found: FoundImage[] = [];
  visitJson(json, null, (value) => {
    if (typeof value === 'string') found.push(...encodedImage(value));
    else if (isAddress(value)) found.push({ bytes: null, header: null });
  });
  if (tensors !== null) found.push(...imagesInTensors(json, tensors));
  return found.slice(0, MAX_IMAGES);
}

/** Parts of a form and their sizes; null if the request is not a form or cannot be parsed. */
export function formOf(request: ReadableRequest): FormFigures | null {
  if (request.mediaType !== 'multipart/form-data') return null;
  const parts = formParts(request);
  return parts.length === 0 ? null : { parts: parts.length, partBytes: parts.map(({ length }) => length) };
}

function formParts({ body, contentType }: ReadableRequest): Buffer[] {
  try {
    return partsOf(body, boundaryOf(contentType)).map(({ from, to }) => body.subarray(from, to));
  } catch (error) {
    if (!(error instanceof UnreadableBody)) throw error;
    return [];
  }
}

function imageIn(bytes: Buffer): FoundImage[] {
  const header = imageHeader(bytes);
  return header === null ? [] : [{ bytes: bytes.length, header }];
}

/** Whether a part of a message refers to a picture by its address. */
function isAddress(part: unknown): boolean {
  const image = member(part, 'image_url');
  const address =
    typeof image === 'string' ? image : (member(image, 'url') ?? member(member(part, 'source'), 'url'));
  return typeof address === 'string' && /^https?:\/\//i.test(address);
}

function encodedImage(text: string): FoundImage[] {
  const prefix = DATA_URL.exec(text)?.[0].length ?? 0;
  if (prefix === 0 && (text.length < LEAST_BASE64 || !ENCODED_IMAGE.test(text))) return [];
  const header = imageHeader(
    Buffer.from(text.slice(prefix, prefix + Math.ceil((HEADER_BYTES * 4) / 3)), 'base64'),
  );
  if (prefix === 0 && header === null) return [];
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  return [{ bytes: Math.max(0, Math.floor(((text.length - prefix) * 3) / 4) - padding), header }];
}

/** Pictures in BYTES tensors after the JSON. Each element follows its length. */
function imagesInTensors(json: unknown, tensors: Buffer): FoundImage[] {
  const inputs = member(json, 'inputs');
  const found: FoundImage[] = [];
  let at = 0;
  for (const input of Array.isArray(inputs) ? inputs : []) {
    const size = member(member(input, 'parameters'), 'binary_data_size');
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) continue;
    const end = Math.min(tensors.length, at + size);
    if (member(input, 'datatype') === 'BYTES') {
      for (let next = at; next + 4 <= end && found.length < MAX_IMAGES; ) {
        const length = tensors.readUInt32LE(next);
        found.push(...imageIn(tensors.subarray(next + 4, Math.min(end, next + 4 + length))));
        next += 4 + length;
      }
    }
    at = end;
  }
  return found;
}

const IMAGE_READERS = { png: PNG, jpeg: JPG, gif: GIF, webp: WEBP, bmp: BMP };

/** Facts from the first bytes of a picture. */
interface ImageHeader {
  readonly format: keyof typeof IMAGE_READERS;
  /** Pixels; null if the file has them after its first bytes. */
  readonly width: number | null;
  readonly height: number | null;
}

/** The header of a picture; null for anything else. Never throws. */
function imageHeader(bytes: Buffer): ImageHeader | null {
  const format = imageFormat(bytes);
  if (format === null) return null;
  // Copied, because the readers look past the end of a short picture, where the buffer may have other requests.
  const copy = Buffer.from(new Uint8Array(bytes.subarray(0, HEADER_BYTES)).buffer);
  try {
    const { width, height } = IMAGE_READERS[format].calculate(copy);
    return { format, width, height };
  } catch {
    return { format, width: null, height: null };
  }
}

function imageFormat(bytes: Buffer): ImageHeader['format'] | null {
  const start = bytes.toString('latin1', 0, 12);
  if (start.length < 12) return null;
  if (start.startsWith('\x89PNG')) return 'png';
  if (start.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (start.startsWith('GIF8')) return 'gif';
  if (start.startsWith('RIFF') && start.endsWith('WEBP')) return 'webp';
  return start.startsWith('BM') && start.startsWith('\0\0\0\0', 6) ? 'bmp' : null;
}

/** Deeper nesting of a tensor and further tensors are ignored. */
const MAX_TENSOR_DEPTH = 8;
const MAX_TENSORS = 64;
const DATATYPES: ReadonlySet<string> = new Set([
  ...['BOOL', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'INT8', 'INT16', 'INT32', 'INT64'],
  ...['FP16', 'FP32', 'FP64', 'BF16', 'BYTES', 'STRING', 'UTF8'],
]);

/**
 * Type and dimensions of the tensors in a request, such as `FP32[8,3,224,224]`. Names of inputs are left out, because
 * the client chooses them.
 */
export function tensorShapes({ json }: ReadableRequest): string[] {
  const inputs = member(json, 'inputs');
  if (Array.isArray(inputs))
    return inputs.slice(0, MAX_TENSORS).flatMap((input: unknown) => shapeOfV2(input) ?? []);
  const instances = member(json, 'instances');
  if (Array.isArray(instances)) return [shapeOfNested(instances)];
  return inputs !== undefined && typeof inputs === 'object'
    ? Object.values(inputs ?? {})
        .slice(0, MAX_TENSORS)
        .map((input) => shapeOfTensorflow(input) ?? shapeOfNested(input))
    : [];
}

/** Rows of the first tensor; null if there are none. */
export function batchOfShapes({ json }: ReadableRequest): number | null {
  const instances = member(json, 'instances');
  if (Array.isArray(instances)) return instances.length;
  const inputs = member(json, 'inputs');
  const shape = member(Array.isArray(inputs) ? inputs[0] : undefined, 'shape');
  const rows: unknown = Array.isArray(shape) ? shape[0] : undefined;
  return typeof rows === 'number' && Number.isSafeInteger(rows) && rows >= 0 ? rows : null;
}

function shapeOfV2(input: unknown): string | null {
  const datatype = member(input, 'datatype');
  const shape = member(input, 'shape');
  if (!Array.isArray(shape) || !shape.every((size) => Number.isSafeInteger(size))) return null;
  const type =
    typeof datatype === 'string' && DATATYPES.has(datatype.toUpperCase()) ? datatype.toUpperCase() : 'other';
  return `${type}[${shape.slice(0, MAX_TENSOR_DEPTH).join(',')}]`;
}

/** The shape of a tensor in a gRPC call of TensorFlow Serving. */
function shapeOfTensorflow(input: unknown): string | null {
  const sizes = member(member(input, 'tensor_shape'), 'dim');
  const type = member(input, 'dtype');
  if (typeof type !== 'string' || !/^DT_[A-Z0-9_]{1,30}$/.test(type)) return null;
  // A size of 0 is not written.
  const shape = Array.isArray(sizes) ? sizes.map((each: unknown) => Number(member(each, 'size') ?? 0)) : [];
  return `${type}[${shape.slice(0, MAX_TENSOR_DEPTH).join(',')}]`;
}

/** The shape of nested lists, as in TensorFlow Serving. The first list of each level represents the others. */
function shapeOfNested(value: unknown): string {
  const sizes: number[] = [];
  let inner = value;
  while (Array.isArray(inner) && sizes.length < MAX_TENSOR_DEPTH) {
    sizes.push(inner.length);
    inner = inner[0];
  }
  const type = inner === null || inner === undefined ? 'empty' : typeof inner;
  return `${type}[${sizes.join(',')}]`;
}

const MAX_ANSWER_BYTES = 1024 * 1024;
/** Keys that lead to the text in answers of all formats. */
const TEXT_KEYS = [
  'choices',
  'message',
  'delta',
  'content',
  'text',
  'output',
  'text_output',
  'generated_text',
  'response',
  'token',
];

/** Estimated tokens of an answer's text; null if the answer was not stored or has no text. */
export function answerTokens({ response }: ExchangePayload): number | null {
  if ((response?.body.kept?.length ?? 0) > MAX_ANSWER_BYTES) return null;
  const decoded = decodedMessage(response);
  if (typeof decoded === 'string') return null;
  const { headers, body } = decoded;
  const contentType = headers.get('content-type') ?? null;
  const texts: string[] = [];
  if (isJson(contentType)) addTexts(body.toString('utf8'), texts);
  else if (isEventStream(contentType) || isJsonLines(contentType)) {
    const events = new EventData(isEventStream(contentType) ? 'events' : 'lines', (data) =>
      addTexts(data, texts),
    );
    events.write(body);
    events.end();
  }
  // Pieces of a stream may be parts of words, so they are estimated together.
  const tokens = estimatedTokens(texts.join(''));
  return tokens === 0 ? null : Math.max(1, Math.round(tokens));
}

function addTexts(data: string, texts: string[]): void {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return;
  }
  visitJson(value, TEXT_KEYS, (each) => {
    if (typeof each === 'string') texts.push(each);
  });
}
