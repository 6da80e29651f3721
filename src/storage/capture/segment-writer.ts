import { closeSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  type Counted,
  type LifeAccount,
  NO_PROGRESS,
  type Progress,
  type ProtocolUse,
} from '../../core/accounting.ts';
import type { ClockAnchor } from '../../core/clock.ts';
import { type Body, type Exchange, OUTCOMES } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import { BlockWriter, encodeHeads } from './blocks.ts';
import { syncPath } from './directory.ts';
import type { BlockCipher } from './encryption.ts';
import type { Expiry } from './retention.ts';
import { RollUps } from './roll-ups.ts';
import { createSchema, type SegmentMeta, setMeta, writeMeta } from './schema.ts';
import { type Connection, type Durability, openForWriting, PAGE_BYTES } from './sqlite.ts';

/** SQLite's answer to a checkpoint: pages in the log, and how many of them are also in the database. */
interface LogState {
  readonly log: number;
  readonly checkpointed: number;
}

/** The content of one transaction. */
interface Batch {
  readonly exchanges: readonly PackedExchange[];
  readonly records: SideRecords;
  /** What the recorder has committed with this batch; null if nothing counts it. */
  readonly progress: Progress | null;
  readonly committedUs: number;
}

/** How a segment is written. */
interface WriterMeans {
  readonly durability: Durability;
  /** Null leaves blocks unencrypted. */
  readonly cipher: BlockCipher | null;
  /** The last account in the previous segment; null if there is none. */
  readonly baseline: LifeAccount | null;
}

/** A growing segment: a SQLite file that one writer appends to. */
export class SegmentWriter {
  readonly path: string;
  readonly hour: number;
  readonly #connection: Connection;
  readonly #blocks: BlockWriter;
  readonly #bodies: BodyStore;
  readonly #exchanges: ExchangeInserter;
  readonly #rollUps: RollUps;
  readonly #records: SideRecordWriter;
  #lastId = 0;

  /** Creates the file (0600) with its tables. Throws errors of SQLite and the file system. */
  constructor(path: string, hour: number, meta: SegmentMeta, means: WriterMeans) {
    const { durability, cipher, baseline } = means;
    // Created first: SQLite would apply the umask, and its side files get the mode of the file.
    closeSync(openSync(path, 'wx', 0o600));
    this.path = path;
    this.hour = hour;
    this.#connection = openForWriting(path, durability);
    try {
      this.#connection.transaction(() => {
        createSchema(this.#connection);
        writeMeta(this.#connection, meta);
      })();
      if (durability === 'commit') syncPath(dirname(path));
      this.#blocks = new BlockWriter(this.#connection, cipher);
      this.#bodies = new BodyStore(this.#connection, this.#blocks);
      this.#exchanges = new ExchangeInserter(this.#connection, {
        bodies: this.#bodies,
        blocks: this.#blocks,
      });
      this.#rollUps = new RollUps(this.#connection);
      this.#records = new SideRecordWriter(this.#connection, baseline);
    } catch (error) {
      this.#connection.close();
      throw error;
    }
  }

  /** Bytes of the open block; the commit that fills it writes them once more. */
  get openBlockBytes(): number {
    return this.#blocks.openBytes;
  }

  /** Commits a batch completely, or throws and commits nothing. */
  write(batch: Batch): void {
    this.#transact(false, () => {
      this.#lastId = this.#exchanges.insert(this.#lastId, batch.exchanges);
      if (batch.exchanges.length > 0) {
        this.#rollUps.add(
          batch.exchanges.map(({ exchange }) => exchange),
          batch.committedUs,
        );
      }
      this.#records.write(batch.records);
      if (batch.progress !== null) setMeta(this.#connection, { progress: JSON.stringify(batch.progress) });
    });
  }

  /** Writes the last block and the times at which the writer (and its recorder) ended. */
  end(closedUs: number, recorderEnded: boolean): void {
    this.#transact(true, () => {
      setMeta(this.#connection, {
        closed_us: String(closedUs),
        ...(recorderEnded ? { recorder_ended_us: String(closedUs) } : {}),
      });
    });
  }

  /** Closes the file, ended or not. SQLite moves the rest of the write-ahead log into it. */
  close(): void {
    this.#connection.close();
  }

  /** Size of its content once the log is moved into it: the pages in use. */
  get contentBytes(): number {
    const pages = Number(this.#connection.pragma('page_count', { simple: true }));
    const free = Number(this.#connection.pragma('freelist_count', { simple: true }));
    return (pages - free) * PAGE_BYTES;
  }

  get databaseBytes(): number {
    return sizeOf(this.path);
  }

  get walBytes(): number {
    return sizeOf(`${this.path}-wal`);
  }

  /**
   * Moves committed pages from the write-ahead log into the database, between batches so that no commit
   * waits. Below `softBytes` it does nothing. Above the hard bound it truncates the log unless a reader holds
   * it.
   */
  checkpoint(softBytes: number, hardBytes: number = LIMITS.walBytes): void {
    const bytes = this.walBytes;
    if (bytes <= softBytes) return;
    if (bytes > hardBytes) this.truncateWal();
    else if (this.#unmovedBytes() > softBytes) this.#connection.pragma('wal_checkpoint(PASSIVE)');
  }

  /** Log bytes not yet in the database. The file keeps its length while SQLite rewrites it from the start. */
  #unmovedBytes(): number {
    const [state] = this.#connection.pragma('wal_checkpoint(NOOP)') as [LogState | undefined];
    return state === undefined ? 0 : (state.log - state.checkpointed) * PAGE_BYTES;
  }

  /** Empties the write-ahead log without waiting. If a reader uses it, it stays. */
  truncateWal(): void {
    const patience = this.#connection.pragma('busy_timeout', { simple: true });
    this.#connection.pragma('busy_timeout = 0');
    try {
      this.#connection.pragma('wal_checkpoint(TRUNCATE)');
    } finally {
      this.#connection.pragma(`busy_timeout = ${patience}`);
    }
  }

  #transact(last: boolean, work: () => void): void {
    const committedId = this.#lastId;
    try {
      this.#connection
        .transaction(() => {
          work();
          this.#blocks.flush(last);
        })
        .immediate();
      this.#blocks.committed();
      this.#bodies.committed();
    } catch (error) {
      this.#lastId = committedId;
      this.#blocks.rolledBack();
      this.#bodies.rolledBack();
      this.#exchanges.rolledBack();
      throw error;
    }
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

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

/** An exchange that waits for its commit, with packed heads. */
export interface PackedExchange {
  readonly exchange: Exchange;
  /** Null if its heads hold nothing to keep. */
  readonly heads: Uint8Array | null;
}

/** Null for an exchange that cannot be stored. It counts as one loss and does not affect its batch. */
export function packExchange(exchange: Exchange): PackedExchange | null {
  if (!canBeRow(exchange)) return null;
  try {
    return { exchange, heads: encodeHeads(exchange) };
  } catch {
    // msgpackr could not pack it; the caller counts it as lost.
    return null;
  }
}

/** Bytes of an exchange that go into blocks: packed heads and the kept bytes of its bodies. */
export function keptBytesOf({ exchange: { request, response }, heads }: PackedExchange): number {
  const bodies = (request?.body.kept?.byteLength ?? 0) + (response?.body.kept?.byteLength ?? 0);
  return bodies + (heads?.byteLength ?? 0);
}

/** Writes rows of the `exchange` table and the rows they refer to. */
class ExchangeInserter {
  readonly #insert;
  readonly #names: Names;
  readonly #bodies: BodyStore;
  readonly #blocks: BlockWriter;

  constructor(connection: Connection, { bodies, blocks }: { bodies: BodyStore; blocks: BlockWriter }) {
    this.#names = new Names(connection);
    this.#bodies = bodies;
    this.#blocks = blocks;
    this.#insert = connection.prepare<Bound[]>(
      `INSERT INTO exchange (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})`,
    );
  }

  /** Writes exchanges with the ids after `lastId` and returns the last id. Call inside a transaction. */
  insert(lastId: number, exchanges: readonly PackedExchange[]): number {
    let id = lastId;
    for (const { exchange, heads } of exchanges) {
      id += 1;
      this.#insert.run(...this.#valuesOf(id, exchange, heads));
    }
    return id;
  }

  rolledBack(): void {
    this.#names.rolledBack();
  }

  /** In column order. */
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

/** Names cached in memory. A client that invents routes costs a look-up each, but not unlimited memory. */
const NAMES_REMEMBERED = 4_096;

/** Assigns a number to each repeated text: methods, routes, models, protocols. */
class Names {
  readonly #insert;
  readonly #find;
  readonly #ids = new Map<string, number>();

  constructor(connection: Connection) {
    this.#insert = connection.prepare<[string]>('INSERT INTO name (text) VALUES (?)');
    this.#find = connection.prepare<[string], number>('SELECT id FROM name WHERE text = ?').pluck();
  }

  /** The number of a text; null for null. Call inside a transaction. */
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

/** Bodies that each of the two generations remembers: about 30 MiB in total. */
const REMEMBERED = 131_072;

/**
 * Stores each distinct body of a segment once. Two bodies are the same if the hash of the whole and the
 * number of kept bytes are equal. So a truncated body never replaces a complete one, nor the reverse.
 *
 * Known bodies are held in memory only. An index in the file would cost a random page of the write-ahead log
 * for every body (measured in docs/adr/0003). A body that repeats after too many others is stored again.
 */
export class BodyStore {
  readonly #blocks: BlockWriter;
  readonly #insert;
  /** Ids by hash and kept bytes: of the latest bodies, and of those before them. */
  #latest = new Map<string, number>();
  #earlier = new Map<string, number>();
  /** Bodies that are not committed yet. */
  #uncommitted: string[] = [];
  #committedId = 0;
  #lastId = 0;

  constructor(connection: Connection, blocks: BlockWriter) {
    this.#blocks = blocks;
    this.#insert = connection.prepare<[number, Uint8Array | null, number, number | null, number | null]>(
      'INSERT INTO body (id, hash, bytes, kept_bytes, slot) VALUES (?, ?, ?, ?, ?)',
    );
  }

  /** Row id of a body, new or known; null for an empty body. Call inside a transaction. */
  idOf(body: Body): number | null {
    if (body.bytes === 0) return null;
    const kept = body.kept?.byteLength ?? null;
    const key = body.hash === null ? null : `${Buffer.from(body.hash).toString('latin1')} ${kept}`;
    const known = key === null ? undefined : (this.#latest.get(key) ?? this.#earlier.get(key));
    if (known !== undefined) return known;
    const id = this.#lastId + 1;
    const slot = body.kept === null || body.kept.byteLength === 0 ? null : this.#blocks.put(body.kept);
    this.#insert.run(id, body.hash, body.bytes, kept, slot);
    this.#lastId = id;
    if (key !== null) this.#remember(key, id);
    return id;
  }

  committed(): void {
    this.#committedId = this.#lastId;
    this.#uncommitted = [];
  }

  /** Call when the transaction failed: its ids are reused. */
  rolledBack(): void {
    this.#lastId = this.#committedId;
    for (const key of this.#uncommitted) {
      this.#latest.delete(key);
      this.#earlier.delete(key);
    }
    this.#uncommitted = [];
  }

  #remember(key: string, id: number): void {
    if (this.#latest.size >= REMEMBERED) {
      this.#earlier = this.#latest;
      this.#latest = new Map();
    }
    this.#latest.set(key, id);
    this.#uncommitted.push(key);
  }
}

/** Protocol names come from the network (`Upgrade: anything`). Beyond this number a segment uses `other`. */
const PROTOCOLS_MAX = 64;
/** Anchors kept while no commit succeeds: those of a day. */
const ANCHORS_MAX = 1_440;

/**
 * Data of a capture besides its exchanges: the recording's account, connections by protocol, clock anchors
 * and expiries. It is collected until the next commit. Its size is bounded even if the disk fails for long.
 */
export class SideRecords {
  /** The newest account; null once written. */
  account: LifeAccount | null = null;
  readonly protocolUses = new Map<string, ProtocolUse>();
  readonly #anchors: ClockAnchor[] = [];
  readonly expiries: Expiry[] = [];

  get anchors(): readonly ClockAnchor[] {
    return this.#anchors;
  }

  get isEmpty(): boolean {
    const records = this.protocolUses.size + this.#anchors.length + this.expiries.length;
    return this.account === null && records === 0;
  }

  addProtocolUse(use: ProtocolUse): void {
    const full = this.protocolUses.size >= PROTOCOLS_MAX && !this.protocolUses.has(use.protocol);
    const protocol = full ? 'other' : use.protocol;
    const known = this.protocolUses.get(protocol);
    this.protocolUses.set(protocol, {
      protocol,
      connections: use.connections + (known?.connections ?? 0),
      bytes: use.bytes + (known?.bytes ?? 0),
    });
  }

  addAnchor(anchor: ClockAnchor): void {
    this.#anchors.push(anchor);
    if (this.#anchors.length > ANCHORS_MAX) this.#anchors.shift();
  }

  clear(): void {
    this.account = null;
    this.protocolUses.clear();
    this.#anchors.length = 0;
    this.expiries.length = 0;
  }
}

/** A row of `counter`. */
interface CounterRow extends Counted {
  readonly atUs: number;
}

/** Writes side records into the tables of a segment. */
class SideRecordWriter {
  readonly #connection: Connection;
  readonly #baseline: LifeAccount | null;
  readonly #statements;

  /** @param baseline last account in the previous segment; only increases since then are counted here */
  constructor(connection: Connection, baseline: LifeAccount | null) {
    this.#connection = connection;
    this.#baseline = baseline;
    this.#statements = {
      lastCounter: connection.prepare<[string, string], CounterRow>(
        `SELECT at_us AS atUs, exchanges, turns, bytes FROM counter WHERE kind = ? AND name = ?
        ORDER BY at_us DESC LIMIT 1`,
      ),
      counter: connection.prepare('INSERT INTO counter VALUES (?, ?, ?, ?, ?, ?)'),
      protocolUse: connection.prepare(`INSERT INTO protocol_use VALUES (?, ?, ?)
        ON CONFLICT (protocol) DO UPDATE SET
        connections = connections + excluded.connections, bytes = bytes + excluded.bytes`),
      protocols: connection
        .prepare<[string], number>("SELECT count(*) FROM protocol_use WHERE protocol NOT IN (?, 'other')")
        .pluck(),
      anchor: connection.prepare('INSERT INTO anchor (monotonic_ns, epoch_us) VALUES (?, ?)'),
      expiry: connection.prepare('INSERT OR REPLACE INTO expiry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    };
  }

  /** Call inside a transaction. */
  write(records: SideRecords): void {
    const { protocolUse, protocols, anchor, expiry } = this.#statements;
    if (records.account !== null) this.#writeAccount(records.account);
    for (const { protocol, connections, bytes } of records.protocolUses.values()) {
      const full = (protocols.get(protocol) ?? 0) >= PROTOCOLS_MAX;
      protocolUse.run(full ? 'other' : protocol, connections, bytes);
    }
    for (const { monotonicNs, epochUs } of records.anchors) {
      anchor.run(Math.round(monotonicNs), Math.round(epochUs));
    }
    for (const gone of records.expiries) {
      expiry.run(
        gone.file,
        gone.firstArrivalUs,
        gone.lastArrivalUs,
        gone.exchanges,
        gone.bytes,
        gone.expiredUs,
        gone.why,
        gone.earlier.segments,
        gone.earlier.exchanges,
        gone.earlier.bytes,
      );
    }
  }

  #writeAccount(account: LifeAccount): void {
    setMeta(this.#connection, { account: JSON.stringify(account) });
    for (const kind of ['lost', 'omitted'] as const) {
      const before: Readonly<Partial<Record<string, Counted>>> = this.#baseline?.[kind] ?? {};
      for (const [name, value] of Object.entries(account[kind])) {
        this.#count(kind, name, account, value, before[name] ?? NO_PROGRESS);
      }
    }
  }

  /** Writes one row for each increase of a counter, after a row with its value before the segment. */
  #count(
    kind: string,
    name: string,
    { startedUs, atUs }: LifeAccount,
    value: Counted,
    before: Counted,
  ): void {
    const { lastCounter, counter } = this.#statements;
    const last = lastCounter.get(kind, name) ?? null;
    const { exchanges, turns, bytes } = value;
    const known = last ?? before;
    if (known.exchanges === exchanges && known.turns === turns && known.bytes === bytes) return;
    const sinceUs = Math.round(last?.atUs ?? this.#baseline?.atUs ?? startedUs);
    if (last === null) counter.run(kind, name, sinceUs, before.exchanges, before.turns, before.bytes);
    // After a clock was set back, an increase must still come after the value it grew from.
    counter.run(kind, name, Math.max(Math.round(atUs), sinceUs + 1), exchanges, turns, bytes);
  }
}
