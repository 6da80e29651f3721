import { existsSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { type ExchangeRow, OUTCOMES } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { TimeRange } from '../../core/ports.ts';
import type { BlockRow } from './blocks.ts';
import { MANIFEST_SUFFIX, type SegmentFile } from './directory.ts';
import type { SecondRollUp } from './roll-ups.ts';
import { assertReadable, isUnborn, readMeta, type SegmentMeta } from './schema.ts';
import { type Connection, damaged, openForReading, segmentError, takenAway } from './sqlite.ts';

/** Names remembered of one segment; past that they are looked up again. */
const NAMES_REMEMBERED = 65_536;

/** An hour of seconds at once: two milliseconds, and weeks of them are summed in a second. */
const SECONDS_PAGE = 3_600;

/** A place in the order of a segment: the exchanges after it are those not yet read. */
export interface Position {
  readonly arrivalUs: number;
  readonly id: number;
}

/** Reads one segment. Every call is one short transaction, so that no log of a writer waits for a reader. */
export class SegmentReader {
  readonly #segment: SegmentFile;
  readonly #connection: Connection;
  readonly #statements = new Map<string, Database.Statement>();
  readonly #names = new Map<number, string>();
  #readPage: Database.Transaction<SegmentReader['page']> | null = null;

  private constructor(segment: SegmentFile, connection: Connection) {
    this.#segment = segment;
    this.#connection = connection;
  }

  /**
   * Opens a segment; null for one whose tables its writer has not made yet (or died before it could).
   * @throws AppError CAPTURE_DAMAGED, CAPTURE_NOT_FOUND or SCHEMA_TOO_NEW, naming the segment.
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
        assertOwnName(segment, readMeta(connection, segment.file).recorder.id);
        return new SegmentReader(segment, connection);
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
    return this.#guard(() => readMeta(this.#connection, this.#segment.file));
  }

  /** The next page of `range` after `position` (from its begin when null), in the order (arrival, id). */
  page(range: TimeRange, position: Position | null): RawExchange[] {
    // Made once, and not by whoever only wants the sums of a segment.
    this.#readPage ??= this.#connection.transaction(this.#page.bind(this));
    const read = this.#readPage;
    return this.#guard(() => read(range, position));
  }

  /** A row of a page, with its names. */
  rowOf(raw: RawExchange): ExchangeRow {
    const { file, recorder } = this.#segment;
    return rowFrom(raw, { segment: file, recorder, nameOf: (id) => this.#nameOf(id) });
  }

  /** Least and greatest arrival; null for a segment without exchanges. */
  span(): { firstUs: number; lastUs: number } | null {
    // Two statements: SQLite answers each from one end of the index, and min and max in one by a scan.
    const [firstUs, lastUs] = ['min', 'max'].map((end) =>
      this.#guard(() =>
        this.#statement<[], number | null>(`SELECT ${end}(arrival_us) FROM exchange`).pluck().get(),
      ),
    );
    return typeof firstUs === 'number' && typeof lastUs === 'number' ? { firstUs, lastUs } : null;
  }

  /** What tells it from all others. Counts its rows. */
  identity(): SegmentIdentity {
    const count = () => this.#statement<[], number>('SELECT count(*) FROM exchange').pluck().get();
    return { meta: this.meta(), span: this.span(), exchanges: this.#guard(count) ?? 0 };
  }

  /** Where the payloads of the exchanges `firstId` to `lastId` lie, by id. */
  payloadPlaces(firstId: number, lastId: number): Map<number, PayloadPlace> {
    const places = this.#statement<[number, number], RawPlace>(SELECT_PLACES).raw();
    return this.#guard(() => new Map(places.all(firstId, lastId).map((raw) => [raw[0], placeFrom(raw)])));
  }

  /** The block or tail that holds a slot; null when there is none. */
  blockOf(slot: number): BlockRow | null {
    return this.#guard(() => this.#statement<[number], BlockRow>(SELECT_BLOCK).get(slot) ?? null);
  }

  /** A page of seconds from `fromSecond` to before `toSecond`, in order. */
  seconds(fromSecond: number, toSecond: number): SecondRollUp[] {
    return this.#guard(() =>
      this.#statement<[number, number, number], SecondRollUp>(SELECT_SECONDS).all(
        fromSecond,
        toSecond,
        SECONDS_PAGE,
      ),
    );
  }

  /** Rows of one of the small tables, as SQLite names their columns. */
  all<Row>(sql: string): Row[] {
    return this.#guard(() => this.#statement<[], Row>(sql).all());
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

  #nameOf(id: number): string {
    const known = this.#names.get(id);
    if (known !== undefined) return known;
    const text = this.#guard(() =>
      this.#statement<[number], string>('SELECT text FROM name WHERE id = ?').pluck().get(id),
    );
    if (text === undefined) {
      throw damaged(this.#segment.file, `it has no name ${id}`);
    }
    if (this.#names.size >= NAMES_REMEMBERED) this.#names.clear();
    this.#names.set(id, text);
    return text;
  }

  /** The statement of a text, of which there are few: each compiled for every page would hold its kilobytes for long. */
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
      throw segmentError(this.#segment.file, error);
    }
  }
}

const SELECT_BLOCK = `SELECT first_slot AS firstSlot, slots, raw_bytes AS rawBytes, codec, crc32, payload
FROM block WHERE first_slot <= ? ORDER BY first_slot DESC LIMIT 1`;

const SELECT_SECONDS = `SELECT second, exchanges, failed, request_bytes AS requestBytes,
  response_bytes AS responseBytes, latency_count AS latencyCount, latency_sum_us AS latencySumUs,
  latency_max_us AS latencyMaxUs
FROM second WHERE second >= ? AND second < ? ORDER BY second LIMIT ?`;

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
const SELECT_TIES = `${SELECTED} WHERE e.arrival_us = ? AND e.id > ? ORDER BY e.id LIMIT ?`;
/** Exchanges of `fromUs` ≤ arrival < `toUs` in order: `(fromUs, toUs, limit)`. */
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
];

/** What a raw row cannot say by itself. */
interface RowContext {
  readonly segment: string;
  readonly recorder: string;
  readonly nameOf: (id: number) => string;
}

/** A row as others see it. @throws AppError CAPTURE_DAMAGED for an outcome that does not exist. */
function rowFrom(raw: RawExchange, context: RowContext): ExchangeRow {
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

function placeFrom(raw: RawPlace): PayloadPlace {
  return {
    headsSlot: raw[1],
    request: bodyPlaceFrom([raw[2], raw[3], raw[4], raw[5], raw[6]]),
    response: bodyPlaceFrom([raw[7], raw[8], raw[9], raw[10], raw[11]]),
  };
}

function bodyPlaceFrom([bytes, truncated, keptBytes, slot, hashHex]: RawBody): BodyPlace {
  return { bytes: bytes ?? 0, truncated: truncated === 1, hash: bytesOfHex(hashHex), keptBytes, slot };
}

/** Sealed segments kept open at once: a fleet of so many recorders is read without opening any twice. */
const OPEN_MAX = 64;

/**
 * Lends readers of segments. A sealed segment stays open while it is in use; one that is not is opened for
 * each use and closed after it, because an idle connection would keep its sealer waiting.
 */
export class SegmentPool {
  /** Least recently used first. */
  readonly #open = new Map<string, SegmentReader>();
  readonly #sealed = new Set<string>();
  #closed = false;

  /** What `work` makes of the segment; `unborn` when its writer has not made its tables yet. */
  use<T>(segment: SegmentFile, unborn: T, work: (reader: SegmentReader) => T): T {
    const sealed = this.#isSealed(segment);
    if (sealed && !this.#closed) return work(this.#keep(segment));
    const reader = SegmentReader.open({ ...segment, sealed });
    if (reader === null) return unborn;
    try {
      return work(reader);
    } finally {
      reader.close();
    }
  }

  /** Closes the reader of a segment that is read to its end. */
  release(segment: SegmentFile): void {
    this.#open.get(segment.file)?.close();
    this.#open.delete(segment.file);
  }

  /** Keeps none open from here: a payload that was handed out may still be asked for what lies further in. */
  close(): void {
    this.#closed = true;
    for (const reader of this.#open.values()) reader.close();
    this.#open.clear();
  }

  #isSealed(segment: SegmentFile): boolean {
    if (segment.sealed || this.#sealed.has(segment.file)) return true;
    if (!existsSync(`${segment.path}${MANIFEST_SUFFIX}`)) return false;
    this.#sealed.add(segment.file);
    return true;
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

/** @throws AppError CAPTURE_DAMAGED for a segment that goes by the name of another recorder than its own. */
function assertOwnName({ file, recorder: named }: SegmentFile, recorder: string): void {
  if (recorder !== named) throw damaged(file, `it is a segment of recorder ${recorder}, under another name`);
}

/** What no two segments have in common: opened within one tick of the clock, they hold something else. */
export interface SegmentIdentity {
  readonly meta: SegmentMeta;
  /** Null for one without exchanges. */
  readonly span: { readonly firstUs: number; readonly lastUs: number } | null;
  readonly exchanges: number;
}

/**
 * Tells a segment that lies in a capture twice, once under a name that is not its own. A name never changes, and
 * each is taken for a segment of its own: what a copy holds would be counted, and replayed, twice.
 */
export class SegmentIdentities {
  readonly #files = new Map<string, string>();

  /** @throws AppError CAPTURE_DAMAGED when it is not the segment that its name says, or one that was there before. */
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
