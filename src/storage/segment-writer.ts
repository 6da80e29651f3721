import { closeSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { LifeAccount, Progress } from '../core/account.ts';
import { LIMITS } from '../core/limits.ts';
import type { BlockCipher } from './block-cipher.ts';
import { BlockWriter } from './block-writer.ts';
import { BodyStore } from './body-store.ts';
import { type Connection, type Durability, openForWriting, PAGE_BYTES } from './database.ts';
import { syncPath } from './durable-files.ts';
import { ExchangeInserter, type PackedExchange } from './exchange-inserter.ts';
import { RollUps } from './roll-ups.ts';
import { createSchema } from './schema.ts';
import { type SegmentMeta, setMeta, writeMeta } from './segment-meta.ts';
import { type SideRecords, SideRecordWriter } from './side-records.ts';

/** SQLite's answer to a checkpoint: pages in the log, and how many of them are in the database as well. */
interface LogState {
  readonly log: number;
  readonly checkpointed: number;
}

/** What one transaction writes. */
export interface Batch {
  readonly exchanges: readonly PackedExchange[];
  readonly records: SideRecords;
  /** What the recorder has committed with this; null where nobody counts. */
  readonly progress: Progress | null;
  readonly committedUs: number;
}

/** How a segment is written. */
export interface WriterMeans {
  readonly durability: Durability;
  /** Null leaves blocks readable. */
  readonly cipher: BlockCipher | null;
  /** Called between pieces of a commit. */
  readonly breathe: () => void;
  /** The account that the segment before this one ends with; null before the first. */
  readonly baseline: LifeAccount | null;
}

/** One segment while it grows: a SQLite file that one writer appends to. */
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

  /** Makes the file (0600) with its tables. Throws what the file system or SQLite throws. */
  constructor(path: string, hour: number, meta: SegmentMeta, means: WriterMeans) {
    const { durability, cipher, breathe, baseline } = means;
    // Made by us first: SQLite would obey the umask, and gives its side files the mode of the file.
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
      this.#blocks = new BlockWriter(this.#connection, cipher, breathe);
      this.#bodies = new BodyStore(this.#connection, this.#blocks);
      this.#exchanges = new ExchangeInserter(
        this.#connection,
        { bodies: this.#bodies, blocks: this.#blocks },
        breathe,
      );
      this.#rollUps = new RollUps(this.#connection);
      this.#records = new SideRecordWriter(this.#connection, baseline);
    } catch (error) {
      this.#connection.close();
      throw error;
    }
  }

  /** Bytes of the block that is being filled; the commit that fills it writes them once more. */
  get openBlockBytes(): number {
    return this.#blocks.openBytes;
  }

  /** Commits a batch: all of it, or (throwing) nothing. */
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

  /** Writes the ends: the last block whole, and when the writer (and its recorder) let go of the segment. */
  end(closedUs: number, recorderEnded: boolean): void {
    this.#transact(true, () => {
      setMeta(this.#connection, {
        closed_us: String(closedUs),
        ...(recorderEnded ? { recorder_ended_us: String(closedUs) } : {}),
      });
    });
  }

  /** Closes the file, ended or not. SQLite moves what is left in the write-ahead log into it. */
  close(): void {
    this.#connection.close();
  }

  /** What its content will take when the log is moved into it: pages in use, wherever they lie just now. */
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
   * Moves committed pages from the write-ahead log into the database, between batches so that no commit waits
   * for it. Up to `softBytes` nothing is done; past the hard bound the log is cut, if no reader holds it.
   */
  checkpoint(softBytes: number, hardBytes: number = LIMITS.walBytes): void {
    const bytes = this.walBytes;
    if (bytes <= softBytes) return;
    if (bytes > hardBytes) this.truncateWal();
    else if (this.#unmovedBytes() > softBytes) this.#connection.pragma('wal_checkpoint(PASSIVE)');
  }

  /** What of the log is not in the database yet: the file keeps its length while it is written from its start again. */
  #unmovedBytes(): number {
    const [state] = this.#connection.pragma('wal_checkpoint(NOOP)') as [LogState | undefined];
    return state === undefined ? 0 : (state.log - state.checkpointed) * PAGE_BYTES;
  }

  /** Empties the write-ahead log without waiting for anybody: with a reader in it, it stays as it is. */
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
