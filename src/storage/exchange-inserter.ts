import { type Exchange, OUTCOMES } from '../core/exchange.ts';
import type { BlockWriter } from './block-writer.ts';
import type { BodyStore } from './body-store.ts';
import type { Connection } from './database.ts';
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
