import { existsSync } from 'node:fs';
import type Database from 'better-sqlite3';
import type { ExchangeRow } from '../core/exchange.ts';
import { LIMITS } from '../core/limits.ts';
import type { TimeRange } from '../core/ports.ts';
import type { BlockRow } from './block.ts';
import type { SegmentFile } from './capture-directory.ts';
import { type Connection, damaged, openForReading, segmentError, takenAway } from './database.ts';
import {
  type PayloadPlace,
  placeFrom,
  type RawExchange,
  type RawPlace,
  rowFrom,
  SELECT_PLACES,
  SELECT_RANGE,
  SELECT_TIES,
} from './exchange-rows.ts';
import type { SecondRollUp } from './roll-ups.ts';
import { assertReadable, isUnborn } from './schema.ts';
import { assertOwnName, type SegmentIdentity } from './segment-identities.ts';
import { readMeta, type SegmentMeta } from './segment-meta.ts';

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
