import { type ExchangeRow, OUTCOMES } from '../core/exchange.ts';
import { damaged } from './database.ts';

/**
 * Selects the bytes of a short blob as text, for `bytesOfHex`. A blob itself becomes a buffer outside the heap: with
 * three of them in a row that was half of the time in which a page is read.
 */
function hexOf(blob: string): string {
  // Of NULL `hex` would make an empty text.
  return `iif(${blob} IS NULL, NULL, hex(${blob}))`;
}

function bytesOfHex(hex: string | null): Uint8Array | null {
  return hex === null ? null : Buffer.from(hex, 'hex');
}

/** What a page of rows is read with; the order of `RawExchange`. */
const SELECTED = `SELECT
  e.id, e.arrival_us, e.outcome, e.protocol, e.method, e.route, e.status, e.connection,
  ${hexOf('e.client')}, ${hexOf('e.session')}, e.model, e.streamed,
  e.request_end_offset_us, e.first_byte_offset_us, e.last_byte_offset_us, e.first_token_offset_us,
  e.prompt_tokens, e.output_tokens, e.batch, e.request_bytes, e.response_bytes,
  e.request_truncated, e.request_bytes IS NOT NULL AND NOT e.request_truncated
    AND (e.request_bytes = 0 OR b.slot IS NOT NULL), ${hexOf('b.hash')}, e.client_left_offset_us
FROM exchange e LEFT JOIN body b ON b.id = e.request_body`;

/** The rest of the exchanges that share an arrival: `(arrival, afterId, limit)`. */
export const SELECT_TIES = `${SELECTED} WHERE e.arrival_us = ? AND e.id > ? ORDER BY e.id LIMIT ?`;
/** Exchanges of `fromUs` ≤ arrival < `toUs` in order: `(fromUs, toUs, limit)`. */
export const SELECT_RANGE = `${SELECTED} WHERE e.arrival_us >= ? AND e.arrival_us < ?
  ORDER BY e.arrival_us, e.id LIMIT ?`;

type Nullable = number | null;

export type RawExchange = [
  id: number,
  arrivalUs: number,
  outcome: number,
  protocol: Nullable,
  method: Nullable,
  route: Nullable,
  status: Nullable,
  connection: Nullable,
  clientHex: string | null,
  sessionHex: string | null,
  model: Nullable,
  streamed: Nullable,
  requestEndOffsetUs: Nullable,
  firstByteOffsetUs: Nullable,
  lastByteOffsetUs: Nullable,
  firstTokenOffsetUs: Nullable,
  promptTokens: Nullable,
  outputTokens: Nullable,
  batch: Nullable,
  requestBytes: Nullable,
  responseBytes: Nullable,
  requestTruncated: number,
  requestStored: number,
  requestHashHex: string | null,
  clientLeftOffsetUs: Nullable,
];

/** What a raw row cannot say by itself. */
export interface RowContext {
  readonly segment: string;
  readonly recorder: string;
  readonly nameOf: (id: number) => string;
}

/** A row as others see it. @throws AppError CAPTURE_DAMAGED for an outcome that does not exist. */
export function rowFrom(raw: RawExchange, context: RowContext): ExchangeRow {
  const outcome = OUTCOMES[raw[2]];
  if (outcome === undefined) throw damaged(context.segment, `exchange ${raw[0]} has outcome ${raw[2]}`);
  return {
    id: raw[0],
    segment: context.segment,
    recorder: context.recorder,
    arrivalUs: raw[1],
    outcome,
    protocol: named(raw[3], context),
    method: named(raw[4], context),
    route: named(raw[5], context),
    status: raw[6],
    connection: raw[7],
    client: bytesOfHex(raw[8]),
    session: bytesOfHex(raw[9]),
    model: named(raw[10], context),
    streamed: raw[11] === null ? null : raw[11] === 1,
    requestEndOffsetUs: raw[12],
    firstByteOffsetUs: raw[13],
    lastByteOffsetUs: raw[14],
    clientLeftOffsetUs: raw[24],
    firstTokenOffsetUs: raw[15],
    promptTokens: raw[16],
    outputTokens: raw[17],
    batch: raw[18],
    requestBytes: raw[19],
    responseBytes: raw[20],
    requestTruncated: raw[21] === 1,
    requestStored: raw[22] === 1,
    requestHash: bytesOfHex(raw[23]),
  };
}

function named(id: number | null, context: RowContext): string | null {
  return id === null ? null : context.nameOf(id);
}

/** Where the body of a request or a response lies, and what its row says of it. */
export interface BodyPlace {
  readonly bytes: number;
  readonly truncated: boolean;
  readonly hash: Uint8Array | null;
  /** Null when nothing was kept of it. */
  readonly keptBytes: number | null;
  readonly slot: number | null;
}

/** Where an exchange's payload lies. */
export interface PayloadPlace {
  /** Null when it was stored without any payload. */
  readonly headsSlot: number | null;
  readonly request: BodyPlace;
  readonly response: BodyPlace;
}

/** Places of exchanges, in order: `(firstId, lastId)`, rows of `RawPlace`. */
export const SELECT_PLACES = `SELECT e.id, e.heads_slot,
  e.request_bytes, e.request_truncated, request.kept_bytes, request.slot, ${hexOf('request.hash')},
  e.response_bytes, e.response_truncated, response.kept_bytes, response.slot, ${hexOf('response.hash')}
FROM exchange e
LEFT JOIN body request ON request.id = e.request_body
LEFT JOIN body response ON response.id = e.response_body
WHERE e.id BETWEEN ? AND ? ORDER BY e.id`;

type RawBody = [
  bytes: Nullable,
  truncated: number,
  keptBytes: Nullable,
  slot: Nullable,
  hashHex: string | null,
];
export type RawPlace = [id: number, headsSlot: Nullable, ...request: RawBody, ...response: RawBody];

export function placeFrom(raw: RawPlace): PayloadPlace {
  return {
    headsSlot: raw[1],
    request: bodyPlaceFrom([raw[2], raw[3], raw[4], raw[5], raw[6]]),
    response: bodyPlaceFrom([raw[7], raw[8], raw[9], raw[10], raw[11]]),
  };
}

function bodyPlaceFrom([bytes, truncated, keptBytes, slot, hashHex]: RawBody): BodyPlace {
  return { bytes: bytes ?? 0, truncated: truncated === 1, hash: bytesOfHex(hashHex), keptBytes, slot };
}
