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
import { joinedDetails, type ServerDetails } from '../../documents/server-details.ts';
import { BlockWriter, encodeHeads } from './blocks.ts';
import { sizeOf, syncPath } from './directory.ts';
import type { BlockCipher } from './encryption.ts';
import type { Expiry } from './quota.ts';
import { rollUpsOf } from './roll-ups.ts';
import { createSchema, type NewSegmentMeta, setMeta, UNKNOWN_OUTCOME, writeMeta } from './schema.ts';
import {
  addInto,
  type Connection,
  type Durability,
  insertInto,
  openForWriting,
  PAGE_BYTES,
  selected,
  TextIds,
} from './sqlite.ts';

/** The content of one transaction. */
interface Batch {
  readonly exchanges: readonly PackedExchange[];
  readonly records: SideRecords;
  readonly expiries: readonly Expiry[];
  /** What the recorder has committed with this batch; null if nothing counts it. */
  readonly progress: Progress | null;
  readonly committedUs: number;
}

/** How a segment is written. */
interface WriterMeans {
  readonly durability: Durability;
  /** Null leaves blocks unencrypted. */
  readonly cipher: BlockCipher | null;
  /** The last account in the previous segment; only increases since then are counted here. */
  readonly baseline: LifeAccount | null;
}

/** A growing segment: a SQLite file that one writer appends to. */
export class SegmentWriter {
  readonly path: string;
  readonly hour: number;
  readonly #connection: Connection;
  /** The file that is open, by device and inode. */
  readonly #opened: string | null;
  readonly #blocks: BlockWriter;
  readonly #bodies: BodyStore;
  readonly #names: TextIds;
  readonly #insert;
  readonly #rollUp;
  readonly #writeRecords;
  #lastId: number;

  /**
   * Creates the file (0600) with its tables. Throws errors of SQLite and the file system.
   * @param meta null to continue a file that another writer left open
   */
  constructor(path: string, hour: number, meta: NewSegmentMeta | null, means: WriterMeans) {
    const { durability, cipher, baseline } = means;
    // Created first: SQLite would apply the umask, and its side files get the mode of the file.
    if (meta !== null) closeSync(openSync(path, 'wx', 0o600));
    this.path = path;
    this.hour = hour;
    this.#connection = openForWriting(path, durability);
    try {
      if (meta !== null) this.#create(meta, durability);
      this.#opened = fileAt(path);
      this.#lastId = lastIdOf(this.#connection, 'exchange');
      this.#blocks = new BlockWriter(this.#connection, cipher);
      this.#bodies = new BodyStore(this.#connection, this.#blocks);
      this.#names = new TextIds(this.#connection, 'name');
      this.#insert = insertInto<Bound[]>(this.#connection, 'exchange');
      this.#rollUp = rollUpsOf(this.#connection);
      this.#writeRecords = recordsOf(this.#connection, baseline);
    } catch (error) {
      this.#connection.close();
      throw error;
    }
  }

  #create(meta: NewSegmentMeta, durability: Durability): void {
    this.#connection.transaction(() => {
      createSchema(this.#connection);
      writeMeta(this.#connection, meta);
    })();
    if (durability === 'commit') syncPath(dirname(this.path));
  }

  /** Exchanges in the file. */
  get exchanges(): number {
    return this.#lastId;
  }

  /**
   * Whether one of its files was removed while it was open: the database with all that it holds, or only the log, from
   * which the database can still be completed. SQLite would write on, and nobody could read it.
   */
  get removed(): 'database' | 'log' | null {
    if (fileAt(this.path) !== this.#opened) return 'database';
    return fileAt(`${this.path}-wal`) === null ? 'log' : null;
  }

  /** Bytes of the open block; the commit that fills it writes them once more. */
  get openBlockBytes(): number {
    return this.#blocks.openBytes;
  }

  /** Commits a batch completely, or throws and commits nothing. */
  write({ exchanges, records, expiries, progress, committedUs }: Batch): void {
    this.#transact(false, () => {
      const afterId = this.#lastId;
      for (const packed of exchanges) this.#insert.run(...this.#valuesOf(packed));
      if (exchanges.length > 0) this.#rollUp(afterId, committedUs);
      this.#writeRecords(records, expiries);
      if (progress !== null) setMeta(this.#connection, { progress: JSON.stringify(progress) });
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
    type LogState = { readonly log: number; readonly checkpointed: number };
    const [state] = this.#connection.pragma('wal_checkpoint(NOOP)') as LogState[];
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

  /** The next row of `exchange`, in the order of the schema. */
  #valuesOf({ exchange, heads }: PackedExchange): Bound[] {
    const { request, response, streamed, answerError } = exchange;
    this.#lastId += 1;
    return [
      this.#lastId,
      exchange.arrivalUs,
      exchange.outcome === null ? UNKNOWN_OUTCOME : OUTCOMES.indexOf(exchange.outcome),
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
      answerError === null ? null : Number(answerError),
      exchange.traceId,
      request?.body.bytes ?? null,
      response?.body.bytes ?? null,
      Number(request?.body.truncated ?? false),
      Number(response?.body.truncated ?? false),
      heads === null ? null : this.#blocks.put(heads),
      request === null ? null : this.#bodies.idOf(request.body),
      response === null ? null : this.#bodies.idOf(response.body),
      this.#names.idOf(exchange.finish ?? null),
      exchange.grpcStatus ?? null,
      exchange.requestMessages ?? null,
      exchange.responseMessages ?? null,
      exchange.linked?.number ?? null,
      exchange.linked?.links.length ?? null,
      exchange.cachedTokens ?? null,
    ];
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
      this.#names.rolledBack();
      throw error;
    }
  }
}

/** Which file is at a path, by device and inode; null if there is none. */
function fileAt(path: string): string | null {
  const status = statSync(path, { throwIfNoEntry: false });
  return status === undefined ? null : `${status.dev} ${status.ino}`;
}

type Bound = number | Uint8Array | null;

function lastIdOf(connection: Connection, table: 'exchange' | 'body'): number {
  return Number(connection.prepare(`SELECT coalesce(max(id), 0) FROM ${table}`).pluck().get());
}

/** An exchange that waits for its commit, with packed heads. */
export interface PackedExchange {
  readonly exchange: Exchange;
  /** Null if its heads hold nothing to keep. */
  readonly heads: Uint8Array | null;
}

/** @throws msgpackr's error for an exchange that it cannot pack */
export function packExchange(exchange: Exchange): PackedExchange {
  return { exchange, heads: encodeHeads(exchange) };
}

/** Bytes of an exchange that go into blocks: packed heads and the kept bytes of its bodies. */
export function keptBytesOf({ exchange: { request, response }, heads }: PackedExchange): number {
  const bodies = (request?.body.kept?.byteLength ?? 0) + (response?.body.kept?.byteLength ?? 0);
  return bodies + (heads?.byteLength ?? 0);
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
  #committedId: number;
  #lastId: number;

  constructor(connection: Connection, blocks: BlockWriter) {
    this.#blocks = blocks;
    this.#lastId = lastIdOf(connection, 'body');
    this.#committedId = this.#lastId;
    this.#insert = insertInto<Bound[]>(connection, 'body');
  }

  /** Row id of a body, new or known; null for an empty body. Call inside a transaction. */
  idOf(body: Body): number | null {
    if (body.bytes === 0) return null;
    const kept = body.kept?.byteLength ?? null;
    const key = keyOf(body);
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

/**
 * Null for a body without a hash. Most bodies are kept completely or not at all. For both, the hash alone is the key,
 * as texts of different lengths. To join texts would take as long as everything else here.
 */
function keyOf({ hash, kept, bytes }: Body): string | null {
  if (hash === null) return null;
  if (kept === null) return hash.toString('utf16le');
  const text = hash.toString('latin1');
  return kept.byteLength === bytes ? text : `${text} ${kept.byteLength}`;
}

/** Protocol names come from the network (`Upgrade: anything`). Beyond this number they count as `other`. */
const PROTOCOLS_MAX = 64;
/** Anchors kept while no commit succeeds: those of a day. */
const ANCHORS_MAX = 1_440;

/**
 * Data of a capture besides its exchanges: the recording's account, connections by protocol and clock
 * anchors. It is collected until the next commit. Its size is bounded even if the disk fails for long.
 */
export class SideRecords {
  /** The newest account; null once written. */
  account: LifeAccount | null = null;
  /** What the servers say of themselves now; null once written. */
  serverDetails: ServerDetails | null = null;
  readonly protocolUses = new Map<string, ProtocolUse>();
  /** Names that this recorder has used. */
  readonly #protocols = new Set<string>();
  readonly anchors: ClockAnchor[] = [];

  get isEmpty(): boolean {
    const { account, serverDetails, protocolUses, anchors } = this;
    return account === null && serverDetails === null && protocolUses.size + anchors.length === 0;
  }

  addProtocolUse(use: ProtocolUse): void {
    if (this.#protocols.size < PROTOCOLS_MAX) this.#protocols.add(use.protocol);
    const protocol = this.#protocols.has(use.protocol) ? use.protocol : 'other';
    const known = this.protocolUses.get(protocol);
    this.protocolUses.set(protocol, {
      protocol,
      connections: use.connections + (known?.connections ?? 0),
      bytes: use.bytes + (known?.bytes ?? 0),
    });
  }

  addAnchor(anchor: ClockAnchor): void {
    this.anchors.push(anchor);
    if (this.anchors.length > ANCHORS_MAX) this.anchors.shift();
  }

  clear(): void {
    this.account = null;
    this.serverDetails = null;
    this.protocolUses.clear();
    this.anchors.length = 0;
  }
}

/** Prepares the writing of side records. Call the result inside a transaction. */
function recordsOf(
  connection: Connection,
  baseline: LifeAccount | null,
): (records: SideRecords, expiries: readonly Expiry[]) => void {
  const addProtocolUse = addInto<[string, number, number]>(connection, 'protocol_use');
  const insertAnchor = connection.prepare('INSERT INTO anchor (monotonic_ns, epoch_us) VALUES (?, ?)');
  const insertExpiry = connection.prepare(`INSERT OR REPLACE INTO expiry VALUES (@file, @firstArrivalUs,
    @lastArrivalUs, @exchanges, @bytes, @expiredUs, @why, @earlierSegments, @earlierExchanges, @earlierBytes)`);
  const writeAccount = accountsOf(connection, baseline);
  const storedDetails = connection
    .prepare<[], string>("SELECT value FROM meta WHERE key = 'server_details'")
    .pluck();
  return ({ account, serverDetails, protocolUses, anchors }, expiries) => {
    if (account !== null) writeAccount(account);
    if (serverDetails !== null) {
      const before = JSON.parse(storedDetails.get() ?? '{}');
      setMeta(connection, { server_details: JSON.stringify(joinedDetails(before, serverDetails)) });
    }
    for (const { protocol, connections, bytes } of protocolUses.values()) {
      addProtocolUse.run(protocol, connections, bytes);
    }
    for (const { monotonicNs, epochUs } of anchors) {
      insertAnchor.run(Math.round(monotonicNs), Math.round(epochUs));
    }
    for (const { earlier, ...expiry } of expiries) {
      insertExpiry.run({
        ...expiry,
        earlierSegments: earlier.segments,
        earlierExchanges: earlier.exchanges,
        earlierBytes: earlier.bytes,
      });
    }
  };
}

/**
 * Prepares the writing of accounts: one row of `counter` for each increase of a counter, after a row with its
 * value before the segment.
 */
function accountsOf(connection: Connection, baseline: LifeAccount | null): (account: LifeAccount) => void {
  const insert = insertInto(connection, 'counter');
  const lastOf = connection.prepare<[string, string], Counted & { readonly atUs: number }>(
    `SELECT ${selected('at_us, exchanges, turns, bytes')} FROM counter WHERE kind = ? AND name = ?
    ORDER BY at_us DESC LIMIT 1`,
  );
  const writeCounter = (kind: 'lost' | 'omitted', name: string, value: Counted, account: LifeAccount) => {
    const counters: Readonly<Partial<Record<string, Counted>>> = baseline?.[kind] ?? {};
    const before = counters[name] ?? NO_PROGRESS;
    const last = lastOf.get(kind, name);
    const { exchanges, turns, bytes } = value;
    const known = last ?? before;
    if (known.exchanges === exchanges && known.turns === turns && known.bytes === bytes) return;
    const sinceUs = Math.round(last?.atUs ?? baseline?.atUs ?? account.startedUs);
    if (last === undefined) insert.run(kind, name, sinceUs, before.exchanges, before.turns, before.bytes);
    // After a clock was set back, an increase must still come after the value it grew from.
    insert.run(kind, name, Math.max(Math.round(account.atUs), sinceUs + 1), exchanges, turns, bytes);
  };
  return (account) => {
    setMeta(connection, { account: JSON.stringify(account) });
    for (const kind of ['lost', 'omitted'] as const) {
      for (const [name, value] of Object.entries(account[kind])) writeCounter(kind, name, value, account);
    }
  };
}
