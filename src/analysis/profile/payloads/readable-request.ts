import { decodeContent } from '../../../core/content-coding.ts';
import { UnreadableBody } from '../../../core/errors.ts';
import type { ExchangePayload, ExchangeRow } from '../../../core/exchange.ts';
import { headerPairsOf } from '../../../core/headers.ts';

/** Larger JSON is not taken apart: it would cost more than it tells. */
const MAX_JSON_BYTES = 4 * 1024 * 1024;
const INFERENCE_HEADER = 'inference-header-content-length';

/** A recorded request whose body can be looked into. */
export interface ReadableRequest {
  readonly row: ExchangeRow;
  /** In lower case, without parameters; empty where there is none. */
  readonly mediaType: string;
  readonly contentType: string;
  /** Without content coding. */
  readonly body: Buffer;
  /** The body's JSON; undefined where it is none, or too large. Of Triton's binary form what precedes the tensors. */
  readonly json: unknown;
  /** What follows the JSON in Triton's binary form. */
  readonly tensors: Buffer | null;
  /** Says of itself that it is a retry, as clients of model servers do. */
  readonly saysRetry: boolean;
}

/** Why a body was not looked into. */
export type Unread = 'no_body_kept' | 'truncated' | 'unreadable_coding';

/** The request of a payload, or why it cannot be read. Never throws, whatever the bytes. */
export function readableRequest(row: ExchangeRow, { request }: ExchangePayload): ReadableRequest | Unread {
  if (request === null || request.body.kept === null) return 'no_body_kept';
  if (request.body.truncated) return 'truncated';
  const headers = new Map(headerPairsOf(request.head).map(([name, value]) => [name.toLowerCase(), value]));
  const contentType = headers.get('content-type') ?? '';
  let decoded: Uint8Array;
  try {
    decoded = decodeContent(request.body.kept, headers.get('content-encoding') ?? null).bytes;
  } catch (error) {
    if (!(error instanceof UnreadableBody)) throw error;
    return 'unreadable_coding';
  }
  const body = Buffer.from(decoded.buffer, decoded.byteOffset, decoded.byteLength);
  const jsonBytes = jsonLengthOf(headers.get(INFERENCE_HEADER), body.length);
  return {
    row,
    contentType,
    mediaType: contentType.split(';')[0]!.trim().toLowerCase(),
    body,
    json: parsed(jsonBytes === null ? body : body.subarray(0, jsonBytes)),
    tensors: jsonBytes === null ? null : body.subarray(jsonBytes),
    saysRetry: Number(headers.get('x-stainless-retry-count') ?? headers.get('x-retry-count') ?? 0) > 0,
  };
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
    // Not JSON after all: then nothing is told of its inside.
    return undefined;
  }
}

/** The value under a key of a JSON object; undefined for anything else. */
export function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}
