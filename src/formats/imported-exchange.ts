import type { Body, Exchange, Message, Outcome } from '../core/exchange.ts';
import { headerPairsOf, headerValue } from '../core/headers.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { payloadApiOf } from '../core/payload-api.ts';
import { isEventStream, isPlain, modelOfJson } from '../core/payload-facts.ts';
import { requestFeatures } from '../core/payload-features.ts';
import { routeOf } from '../core/routes.ts';
import { NO_USAGE, usageIn } from '../core/token-usage.ts';
import type { ImportSourceDeps } from './import-source.ts';
import type { RequestDraft } from './request-draft.ts';

/** How much of a body's end is looked at for token counts. */
const USAGE_BYTES = 64 * 1024;
const NO_CHUNKS: readonly number[] = Object.freeze([]);

/** A body as a file has it. */
export interface ImportedBody {
  /** True size as far as it is known. */
  readonly bytes: number;
  /** Null where the file has none of it. */
  readonly kept: Uint8Array | null;
  readonly truncated: boolean;
}

export interface ImportedResponse {
  readonly status: number;
  /** Status line, header lines and the blank line. */
  readonly head: Uint8Array;
  readonly body: ImportedBody;
}

/** One exchange as a file has it. Offsets are microseconds after the arrival, null where they are not known. */
export interface ImportedParts {
  readonly arrivalUs: number;
  readonly outcome: Outcome;
  readonly request: Omit<RequestDraft, 'body'> & { readonly body: ImportedBody };
  readonly response: ImportedResponse | null;
  readonly session: string | null;
  readonly requestEndOffsetUs: number | null;
  readonly firstByteOffsetUs: number | null;
  readonly lastByteOffsetUs: number | null;
  /** When a client that left did so; absent where the file does not say. */
  readonly clientLeftOffsetUs?: number | null;
}

/** A body that is there whole. */
export function wholeBody(bytes: Uint8Array): ImportedBody {
  return { bytes: bytes.length, kept: bytes, truncated: false };
}

/** An exchange of a file as a recorder would have kept it: masked, hashed, its route named, its facts read. */
export function importedExchange(parts: ImportedParts, deps: ImportSourceDeps): Exchange {
  const { request, response } = parts;
  const named = routeOf(request.method, request.target, deps.redaction);
  const contentType = response && headerValue(headerPairsOf(response.head), 'content-type');
  const text = request.body.kept;
  const plain = isPlain(headerValue(headerPairsOf(request.head), 'content-encoding'));
  const api = payloadApiOf(named);
  return {
    arrivalUs: parts.arrivalUs,
    outcome: parts.outcome,
    protocol: 'http/1.1',
    method: request.method,
    route: named.route,
    status: response?.status ?? null,
    connection: null,
    client: null,
    session: parts.session === null ? null : deps.hash.ofIdentity('session', parts.session),
    model: named.model ?? (text === null || !plain ? null : modelOfJson(text)),
    streamed: response === null ? null : isEventStream(contentType),
    requestEndOffsetUs: parts.requestEndOffsetUs,
    firstByteOffsetUs: parts.firstByteOffsetUs,
    lastByteOffsetUs: parts.lastByteOffsetUs,
    clientLeftOffsetUs: parts.clientLeftOffsetUs ?? null,
    firstTokenOffsetUs: null,
    ...usageOf(response),
    batch: text === null || !plain ? null : requestFeatures(api, text, !request.body.truncated).batch,
    request: requestMessage(request, deps),
    response: response && responseMessage(response, deps),
    requestChunks: NO_CHUNKS,
    responseChunks: NO_CHUNKS,
  };
}

function requestMessage(request: ImportedParts['request'], deps: ImportSourceDeps): Message {
  const head = deps.redaction.requestHead(request.head);
  const trailers = request.trailers === null ? null : deps.redaction.trailers(request.trailers);
  return {
    head: head.bytes,
    redacted: [...new Set([...head.names, ...(trailers?.names ?? [])])],
    body: bodyOf(request.body, true, LIMITS.requestBodyBytes, deps.hash),
    trailers: trailers?.bytes ?? null,
  };
}

function responseMessage(response: ImportedResponse, { redaction, hash, bodies }: ImportSourceDeps): Message {
  const head = redaction.responseHead(response.head);
  return {
    head: head.bytes,
    redacted: head.names,
    body: bodyOf(response.body, bodies === 'all', LIMITS.responseBodyBytes, hash),
    trailers: null,
  };
}

/** What is kept of a body: as much as a recorder would keep. */
function bodyOf(
  { bytes, kept, truncated }: ImportedBody,
  keep: boolean,
  most: number,
  hash: KeyedHash,
): Body {
  const whole = kept !== null && !truncated && bytes > 0;
  return {
    bytes,
    kept: keep ? (kept?.subarray(0, most) ?? null) : null,
    truncated: truncated || (keep && kept !== null && kept.length > most),
    hash: whole ? hash.ofBody(kept) : null,
  };
}

function usageOf(response: ImportedResponse | null): {
  promptTokens: number | null;
  outputTokens: number | null;
} {
  if (response === null || response.body.kept === null) return NO_USAGE;
  if (!isPlain(headerValue(headerPairsOf(response.head), 'content-encoding'))) return NO_USAGE;
  return usageIn(response.body.kept.subarray(-USAGE_BYTES));
}
