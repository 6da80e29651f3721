import { type Exchange, type ExchangeRow, OUTCOMES } from '../core/exchange.ts';
import type { BlockWriter } from './block-writer.ts';
import type { BodyStore } from './body-store.ts';
import { type Connection, damaged } from './database.ts';
import { encodeHeads } from './message-codec.ts';

const COLUMNS = [
  'id',
  'arrival_us',
  'outcome',
  'protocol',
  'method',
  'route',
  'status',
  'connection',
  'client',
  'session',
  'model',
  'streamed',
  'request_end_offset_us',
  'first_byte_offset_us',
  'last_byte_offset_us',
  'client_left_offset_us',
  'first_token_offset_us',
  'prompt_tokens',
  'output_tokens',
  'batch',
  'request_bytes',
  'response_bytes',
  'request_truncated',
  'response_truncated',
  'heads_slot',
  'request_body',
  'response_body',
] as const;

type Bound = number | Uint8Array | null;

/** An exchange that waits for its commit, its heads packed. */
export interface PackedExchange {
  readonly exchange: Exchange;
  /** Null when there is nothing to keep of them. */
  readonly heads: Uint8Array | null;
}

/** Null for an exchange that cannot be stored: it is a loss by itself, and does not spoil its batch. */
export function packExchange(exchange: Exchange): PackedExchange | null {
  if (!canBeRow(exchange)) return null;
  try {
    return { exchange, heads: encodeHeads(exchange) };
  } catch {
    // Whatever msgpackr could not pack, the caller counts it as lost.
    return null;
  }
}

/** Bytes of an exchange that go into blocks: packed heads, and what was kept of its bodies. */
export function keptBytesOf({ exchange: { request, response }, heads }: PackedExchange): number {
  const bodies = (request?.body.kept?.byteLength ?? 0) + (response?.body.kept?.byteLength ?? 0);
  return bodies + (heads?.byteLength ?? 0);
}

/** Writes rows of the `exchange` table and what they refer to. */
export class ExchangeInserter {
  readonly #insert;
  readonly #names: Names;
  readonly #bodies: BodyStore;
  readonly #blocks: BlockWriter;
  readonly #breathe: () => void;

  /** @param breathe called after each row */
  constructor(
    connection: Connection,
    { bodies, blocks }: { bodies: BodyStore; blocks: BlockWriter },
    breathe: () => void,
  ) {
    this.#names = new Names(connection);
    this.#bodies = bodies;
    this.#blocks = blocks;
    this.#breathe = breathe;
    this.#insert = connection.prepare<Bound[]>(
      `INSERT INTO exchange (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})`,
    );
  }

  /** Writes exchanges under the ids that follow `lastId`, and answers the last of them. In a transaction. */
  insert(lastId: number, exchanges: readonly PackedExchange[]): number {
    let id = lastId;
    for (const { exchange, heads } of exchanges) {
      id += 1;
      this.#insert.run(...this.#valuesOf(id, exchange, heads));
      this.#breathe();
    }
    return id;
  }

  rolledBack(): void {
    this.#names.rolledBack();
  }

  /** In the order of the columns. */
  #valuesOf(id: number, exchange: Exchange, heads: Uint8Array | null): Bound[] {
    const { request, response, streamed } = exchange;
    return [
      id,
      exchange.arrivalUs,
      OUTCOMES.indexOf(exchange.outcome),
      this.#names.idOf(exchange.protocol),
      this.#names.idOf(exchange.method),
      this.#names.idOf(exchange.route),
      exchange.status,
      exchange.connection,
      exchange.client,
      exchange.session,
      this.#names.idOf(exchange.model),
      streamed === null ? null : Number(streamed),
      exchange.requestEndOffsetUs,
      exchange.firstByteOffsetUs,
      exchange.lastByteOffsetUs,
      exchange.clientLeftOffsetUs,
      exchange.firstTokenOffsetUs,
      exchange.promptTokens,
      exchange.outputTokens,
      exchange.batch,
      request === null ? null : request.body.bytes,
      response === null ? null : response.body.bytes,
      Number(request?.body.truncated ?? false),
      Number(response?.body.truncated ?? false),
      heads === null ? null : this.#blocks.put(heads),
      request === null ? null : this.#bodies.idOf(request.body),
      response === null ? null : this.#bodies.idOf(response.body),
    ];
  }
}

/** Names remembered in memory; a client that makes up routes costs a look-up each, never memory without end. */
const NAMES_REMEMBERED = 4_096;

/** Gives a number to each text that repeats from row to row: methods, routes, models, protocols. */
class Names {
  readonly #insert;
  readonly #find;
  readonly #ids = new Map<string, number>();

  constructor(connection: Connection) {
    this.#insert = connection.prepare<[string]>('INSERT INTO name (text) VALUES (?)');
    this.#find = connection.prepare<[string], number>('SELECT id FROM name WHERE text = ?').pluck();
  }

  /** The number of a text; null for null. In a transaction. */
  idOf(text: string | null): number | null {
    if (text === null) return null;
    const known = this.#ids.get(text);
    if (known !== undefined) return known;
    const id = this.#find.get(text) ?? Number(this.#insert.run(text).lastInsertRowid);
    if (this.#ids.size >= NAMES_REMEMBERED) this.#ids.clear();
    this.#ids.set(text, id);
    return id;
  }

  rolledBack(): void {
    this.#ids.clear();
  }
}

function canBeRow(exchange: Exchange): boolean {
  return (
    Number.isSafeInteger(exchange.arrivalUs) &&
    isWhole(exchange.status) &&
    isWhole(exchange.connection) &&
    isWhole(exchange.requestEndOffsetUs) &&
    isWhole(exchange.firstByteOffsetUs) &&
    isWhole(exchange.lastByteOffsetUs) &&
    isWhole(exchange.clientLeftOffsetUs) &&
    isWhole(exchange.firstTokenOffsetUs) &&
    isWhole(exchange.promptTokens) &&
    isWhole(exchange.outputTokens) &&
    isWhole(exchange.batch) &&
    OUTCOMES.includes(exchange.outcome)
  );
}

function isWhole(fact: number | null): boolean {
  return fact === null || Number.isSafeInteger(fact);
}

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
