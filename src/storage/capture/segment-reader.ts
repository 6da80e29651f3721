import { existsSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { type ExchangeRow, FINISH_REASONS, type FinishReason, OUTCOMES } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { TimeRange } from '../../core/ports.ts';
import { type BlockRow, SELECT_BLOCKS } from './blocks.ts';
import { MANIFEST_SUFFIX, type SegmentFile } from './directory.ts';
import type { SecondRollUp } from './roll-ups.ts';
import {
  assertReadable,
  columnsOfVersion,
  isUnborn,
  readMeta,
  type SegmentMeta,
  type Span,
  spanOf,
  UNKNOWN_OUTCOME,
} from './schema.ts';
import { type Connection, damaged, openForReading, segmentError, selected, takenAway } from './sqlite.ts';

/** Names cached per segment; beyond that they are looked up again. */
const NAMES_REMEMBERED = 65_536;

/** A position in a segment. Later exchanges are still unread. */
export interface Position {
  readonly arrivalUs: number;
  readonly id: number;
}

/** Reads one segment. Every call is one short transaction, so a writer's log never waits for a reader. */
export class SegmentReader {
  readonly segment: SegmentFile;
  readonly #connection: Connection;
  /** As it was when the segment was opened; that of a sealed one stays. */
  readonly #opened: SegmentMeta;
  readonly #statements = new Map<string, Database.Statement>();
  readonly #names = new Map<number, string>();
  #readPage: Database.Transaction<SegmentReader['page']> | null = null;

  private constructor(segment: SegmentFile, connection: Connection, opened: SegmentMeta) {
    this.segment = segment;
    this.#connection = connection;
    this.#opened = opened;
  }

  /**
   * Opens a segment; null if its writer has not created its tables yet, or died before.
   * @throws AppError CAPTURE_DAMAGED, CAPTURE_NOT_FOUND or SCHEMA_TOO_NEW, naming the segment
   */
  static open(segment: SegmentFile): SegmentReader | null {
    try {
      const connection = openForReading(segment.path);
      try {
        if (!segment.sealed && isUnborn(connection)) {
          connection.close();
          return null;
        }
        assertReadable(connection, segment.file);
        // Its name hides the table of an older version.
        const columns = columnsOfVersion(connection, 'main');
        if (columns !== '*')
          connection.exec(`CREATE TEMP VIEW exchange AS SELECT ${columns} FROM main.exchange`);
        const meta = readMeta(connection, segment.file);
        assertOwnName(segment, meta.recorder.id);
        return new SegmentReader(segment, connection, meta);
      } catch (error) {
        connection.close();
        throw error;
      }
    } catch (error) {
      throw existsSync(segment.path) ? segmentError(segment.file, error) : takenAway(segment.file);
    }
  }

  close(): void {
    this.#connection.close();
  }

  meta(): SegmentMeta {
    if (this.segment.sealed) return this.#opened;
    return this.#guard(() => readMeta(this.#connection, this.segment.file));
  }

  /** The next page of `range` after `position` (null: from the start), in the order (arrival, id). */
  page(range: TimeRange, position: Position | null): RawExchange[] {
    // Created on first use, because a caller may want only the sums of a segment.
    this.#readPage ??= this.#connection.transaction(this.#page.bind(this));
    const read = this.#readPage;
    return this.#guard(() => read(range, position));
  }

  /** One exchange; null if there is none with this id. @throws AppError CAPTURE_DAMAGED */
  exchange(id: number): ExchangeRow | null {
    const raw = this.#guard(() => this.#statement<[number], RawExchange>(SELECT_ONE).raw().get(id));
    return raw === undefined ? null : this.rowOf(raw as RawExchange);
  }

  /** Converts a row of a page and resolves its names. @throws AppError CAPTURE_DAMAGED for an unknown outcome */
  rowOf(raw: RawExchange): ExchangeRow {
    const { file, recorder } = this.segment;
    const outcome = raw[2] === UNKNOWN_OUTCOME ? null : OUTCOMES[raw[2]];
    if (outcome === undefined) throw damaged(file, `exchange ${raw[0]} has outcome ${raw[2]}`);
    return {
      id: raw[0],
      segment: file,
      recorder,
      arrivalUs: raw[1],
      outcome,
      protocol: this.#nameOf(raw[3]),
      method: this.#nameOf(raw[4]),
      route: this.#nameOf(raw[5]),
      status: raw[6],
      connection: raw[7],
      client: bytesOfHex(raw[8]),
      session: bytesOfHex(raw[9]),
      model: this.#nameOf(raw[10]),
      streamed: raw[11] === null ? null : raw[11] === 1,
      requestEndOffsetUs: raw[12],
      firstByteOffsetUs: raw[13],
      lastByteOffsetUs: raw[14],
      clientLeftOffsetUs: raw[24],
      firstTokenOffsetUs: raw[15],
      promptTokens: raw[16],
      outputTokens: raw[17],
      batch: raw[18],
      finish: finishOf(this.#nameOf(raw[28])),
      grpcStatus: raw[29],
      requestMessages: raw[30],
      responseMessages: raw[31],
      number: raw[32],
      links: raw[33],
      cachedTokens: raw[34],
      answerError: raw[25] === null ? null : raw[25] === 1,
      traceId: bytesOfHex(raw[26]),
      requestBytes: raw[19],
      responseBytes: raw[20],
      requestTruncated: raw[21] === 1,
      requestStored: raw[22] === 1,
      requestHash: bytesOfHex(raw[23]),
      responseBody: raw[27],
    };
  }

  /** Null for a segment without exchanges. */
  span(): Span | null {
    return this.#guard(() => spanOf(this.#connection));
  }

  /** What distinguishes it from other segments. Counts its rows. */
  identity(): SegmentIdentity {
    const count = () => this.#statement<[], number>('SELECT count(*) FROM exchange').pluck().get();
    return { meta: this.meta(), span: this.span(), exchanges: this.#guard(count) ?? 0 };
  }

  /** Payload places of the exchanges `firstId` to `lastId`, by id. */
  payloadPlaces(firstId: number, lastId: number): Map<number, PayloadPlace> {
    const places = this.#statement<[number, number], RawPlace>(SELECT_PLACES).raw();
    return this.#guard(() => new Map(places.all(firstId, lastId).map((raw) => [raw[0], placeFrom(raw)])));
  }

  /** The block or tail with this slot; null if none. */
  blockOf(slot: number): BlockRow | null {
    return this.#guard(() => this.#statement<[number], BlockRow>(SELECT_BLOCK).get(slot) ?? null);
  }

  /** The seconds from `fromSecond` (inclusive) to `toSecond` (exclusive), in order. */
  seconds(fromSecond: number, toSecond: number): SecondRollUp[] {
    return this.all<SecondRollUp>(SELECT_SECONDS, fromSecond, toSecond);
  }

  /** All rows of a query, with SQLite's column names. */
  all<Row>(sql: string, ...bound: readonly (number | Uint8Array)[]): Row[] {
    return this.#guard(() => this.#statement<unknown[], Row>(sql).all(...bound));
  }

  #page({ fromUs, toUs }: TimeRange, position: Position | null): RawExchange[] {
    const range = this.#statement<number[], RawExchange>(SELECT_RANGE).raw();
    if (position === null) return range.all(fromUs, toUs, LIMITS.readPageRows);
    const rows = this.#statement<number[], RawExchange>(SELECT_TIES)
      .raw()
      .all(position.arrivalUs, position.id, LIMITS.readPageRows);
    if (rows.length < LIMITS.readPageRows) {
      rows.push(...range.all(position.arrivalUs + 1, toUs, LIMITS.readPageRows - rows.length));
    }
    return rows;
  }

  #nameOf(id: number | null): string | null {
    if (id === null) return null;
    const known = this.#names.get(id);
    if (known !== undefined) return known;
    const text = this.#guard(() =>
      this.#statement<[number], string>('SELECT text FROM name WHERE id = ?').pluck().get(id),
    );
    if (text === undefined) throw damaged(this.segment.file, `it has no name ${id}`);
    if (this.#names.size >= NAMES_REMEMBERED) this.#names.clear();
    this.#names.set(id, text);
    return text;
  }

  /**
   * Caches prepared statements. There are few, and compiling one for every page would keep kilobytes each.
   */
  #statement<Bound extends unknown[], Row>(sql: string): Database.Statement<Bound, Row> {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known as Database.Statement<Bound, Row>;
    const compiled = this.#connection.prepare<Bound, Row>(sql);
    this.#statements.set(sql, compiled as Database.Statement);
    return compiled;
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw segmentError(this.segment.file, error);
    }
  }
}

/** Runs `work` on a segment; null if its writer has not created its tables yet. @throws like `open` */
export function withSegment<T>(segment: SegmentFile, work: (reader: SegmentReader) => T): T | null {
  const reader = SegmentReader.open(segment);
  try {
    return reader === null ? null : work(reader);
  } finally {
    reader?.close();
  }
}

const SELECT_BLOCK = `${SELECT_BLOCKS} FROM block WHERE first_slot <= ? ORDER BY first_slot DESC LIMIT 1`;

const SECOND = selected(
  'second, exchanges, failed, request_bytes, response_bytes, latency_count, latency_sum_us, latency_max_us',
);
const SELECT_SECONDS = `SELECT ${SECOND} FROM second
WHERE second >= ? AND second < ? ORDER BY second`;

/**
 * Selects the bytes of a short blob as text, for `bytesOfHex`. A blob becomes a buffer outside the heap. With
 * three blobs a row, those took half of the time to read a page.
 */
function hexOf(blob: string): string {
  // `hex` returns an empty text for NULL.
  return `iif(${blob} IS NULL, NULL, hex(${blob}))`;
}

/** A reason that this version does not know is another one. */
function finishOf(name: string | null): FinishReason | null {
  return name === null ? null : (FINISH_REASONS.find((each) => each === name) ?? 'other');
}

function bytesOfHex(hex: string | null): Buffer | null {
  return hex === null ? null : Buffer.from(hex, 'hex');
}

/** Selects a page of rows, in the order of `RawExchange`. */
const SELECTED = `SELECT
  e.id, e.arrival_us, e.outcome, e.protocol, e.method, e.route, e.status, e.connection,
  ${hexOf('e.client')}, ${hexOf('e.session')}, e.model, e.streamed,
  e.request_end_offset_us, e.first_byte_offset_us, e.last_byte_offset_us, e.first_token_offset_us,
  e.prompt_tokens, e.output_tokens, e.batch, e.request_bytes, e.response_bytes,
  e.request_truncated, e.request_bytes IS NOT NULL AND NOT e.request_truncated
    AND (e.request_bytes = 0 OR b.slot IS NOT NULL), ${hexOf('b.hash')}, e.client_left_offset_us,
  e.answer_error, ${hexOf('e.trace_id')},
  iif(r.hash IS NULL, NULL, r.id), e.finish_reason, e.grpc_status, e.request_messages, e.response_messages,
  e.number, e.links, e.cached_tokens
FROM exchange e LEFT JOIN body b ON b.id = e.request_body LEFT JOIN body r ON r.id = e.response_body`;

/** The remaining exchanges with the same arrival: `(arrival, afterId, limit)`. */
const SELECT_TIES = `${SELECTED} WHERE e.arrival_us = ? AND e.id > ? ORDER BY e.id LIMIT ?`;
const SELECT_ONE = `${SELECTED} WHERE e.id = ?`;
/** Exchanges with `fromUs` ≤ arrival < `toUs`, in order: `(fromUs, toUs, limit)`. */
const SELECT_RANGE = `${SELECTED} WHERE e.arrival_us >= ? AND e.arrival_us < ?
  ORDER BY e.arrival_us, e.id LIMIT ?`;

type Nullable = number | null;

type RawExchange = [
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
  answerError: Nullable,
  traceIdHex: string | null,
  responseBody: Nullable,
  finish: Nullable,
  grpcStatus: Nullable,
  requestMessages: Nullable,
  responseMessages: Nullable,
  number: Nullable,
  links: Nullable,
  cachedTokens: Nullable,
];

/** Place of a request or response body, and its facts from the row. */
export interface BodyPlace {
  readonly bytes: number;
  readonly truncated: boolean;
  readonly hash: Buffer | null;
  /** Null if nothing of it was kept. */
  readonly keptBytes: number | null;
  readonly slot: number | null;
}

/** Place of an exchange's payload. */
export interface PayloadPlace {
  /** Null if it was stored without any payload. */
  readonly headsSlot: number | null;
  readonly request: BodyPlace;
  readonly response: BodyPlace;
}

/** Places of exchanges, in order: `(firstId, lastId)`, rows of `RawPlace`. */
const SELECT_PLACES = `SELECT e.id, e.heads_slot,
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
type RawPlace = [id: number, headsSlot: Nullable, ...request: RawBody, ...response: RawBody];

function placeFrom([, headsSlot, ...bodies]: RawPlace): PayloadPlace {
  const bodyFrom = ([bytes, truncated, keptBytes, slot, hashHex]: RawBody): BodyPlace => {
    return { bytes: bytes ?? 0, truncated: truncated === 1, hash: bytesOfHex(hashHex), keptBytes, slot };
  };
  const [request, response] = [bodies.slice(0, 5), bodies.slice(5)] as [RawBody, RawBody];
  return { headsSlot, request: bodyFrom(request), response: bodyFrom(response) };
}

/** Sealed segments kept open at once. A fleet of this many recorders is read without reopening any. */
const OPEN_MAX = 64;

/**
 * Lends readers of segments. A sealed segment stays open while in use. An unsealed one is opened for each use
 * and closed after it, because an idle connection would block its sealer.
 */
export class SegmentPool {
  /** Least recently used first. */
  readonly #open = new Map<string, SegmentReader>();
  #closed = false;

  /** Runs `work` on the segment; returns `unborn` if its writer has not created its tables yet. */
  use<T>(segment: SegmentFile, unborn: T, work: (reader: SegmentReader) => T): T {
    // A segment may have been sealed since it was listed.
    const sealed = segment.sealed || existsSync(`${segment.path}${MANIFEST_SUFFIX}`);
    if (sealed && !this.#closed) return work(this.#keep(segment));
    return withSegment({ ...segment, sealed }, work) ?? unborn;
  }

  /** Closes the reader of a segment that was read to its end. */
  release(segment: SegmentFile): void {
    this.#open.get(segment.file)?.close();
    this.#open.delete(segment.file);
  }

  /** Closes all readers and keeps none open afterwards. Payloads may still read bodies on demand. */
  close(): void {
    this.#closed = true;
    for (const reader of this.#open.values()) reader.close();
    this.#open.clear();
  }

  #keep(segment: SegmentFile): SegmentReader {
    const known = this.#open.get(segment.file);
    const reader = known ?? SegmentReader.open({ ...segment, sealed: true });
    if (reader === null) throw new Error(`the sealed segment ${segment.file} was not opened`);
    this.#open.delete(segment.file);
    this.#open.set(segment.file, reader);
    const oldest = this.#open.entries().next().value;
    if (this.#open.size > OPEN_MAX && oldest !== undefined) {
      this.#open.delete(oldest[0]);
      oldest[1].close();
    }
    return reader;
  }
}

/** @throws AppError CAPTURE_DAMAGED when the file name says another recorder than the segment */
function assertOwnName({ file, recorder: named }: SegmentFile, recorder: string): void {
  if (recorder !== named) throw damaged(file, `it is a segment of recorder ${recorder}, under another name`);
}

/** Distinguishes segments. Those opened within one clock tick still differ in content. */
interface SegmentIdentity {
  readonly meta: SegmentMeta;
  readonly span: Span | null;
  readonly exchanges: number;
}

/**
 * Detects a segment that is in a capture twice, once under another name. Each name counts as a segment of its
 * own, so a copy's exchanges would be counted and replayed twice.
 */
export class SegmentIdentities {
  readonly #files = new Map<string, string>();

  /** @throws AppError CAPTURE_DAMAGED when its name is another segment's, or it was added before */
  assertNew(segment: SegmentFile, { meta, span, exchanges }: SegmentIdentity): void {
    assertOwnName(segment, meta.recorder.id);
    // Copies without exchanges do no harm.
    if (span === null) return;
    const identity = `${meta.recorder.id} ${meta.openedUs} ${span.firstUs} ${span.lastUs} ${exchanges}`;
    const other = this.#files.get(identity) ?? segment.file;
    this.#files.set(identity, other);
    if (other !== segment.file)
      throw damaged(segment.file, `it is the same segment as ${other}, under another name`);
  }
}
