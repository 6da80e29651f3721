import Database from 'better-sqlite3';
import type { LossReason } from '../../core/accounting.ts';
import { AppError, reasonOf } from '../../core/errors.ts';

export type Connection = Database.Database;

/** Page size of a segment; each page takes a few bytes more in the log. */
export const PAGE_BYTES = 8_192;
/** How long a statement waits for another connection's lock. */
const BUSY_TIMEOUT_MS = 5_000;
const READER_CACHE_KIB = 1_024;

/** Whether each commit is synced to disk (`commit`) or only a sealed segment (`seal`). */
export type Durability = 'commit' | 'seal';

/** What every connection sets. The binding's compiled defaults differ from SQLite's. */
const COMMON = ['cell_size_check = ON', 'mmap_size = 0', 'temp_store = MEMORY'];

/**
 * Opens a file for writing. Every pragma is set explicitly: `synchronous` also reads back differently before
 * and after the first write in WAL mode.
 */
export function openForWriting(path: string, durability: Durability): Connection {
  return open(path, { timeout: BUSY_TIMEOUT_MS }, [
    `page_size = ${PAGE_BYTES}`,
    'auto_vacuum = NONE',
    'cache_size = -8192',
    'journal_mode = WAL',
    // The writer checkpoints between batches, so no checkpoint falls inside a commit.
    'wal_autocheckpoint = 0',
    `synchronous = ${durability === 'commit' ? 'FULL' : 'OFF'}`,
  ]);
}

/** Opens a finished segment to convert it into one plain file. Its journal mode is not changed. */
export function openForSealing(path: string): Connection {
  return open(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS }, ['synchronous = FULL']);
}

/**
 * Opens a new file that is filled at once and synced by the caller. After a crash it is discarded. Its
 * journal is in memory, so no other file ever holds a part of it.
 */
export function openForFilling(path: string): Connection {
  const pragmas = ['auto_vacuum = NONE', 'journal_mode = MEMORY', 'synchronous = OFF'];
  return open(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS }, pragmas);
}

/**
 * Opens a file read-only. If a killed sealer left a half-written transaction, that is rolled back first, as
 * SQLite does for the next writer. Otherwise one segment would make the whole capture unreadable until it is
 * sealed.
 */
export function openForReading(path: string): Connection {
  const options = { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS };
  const pragmas = [`cache_size = -${READER_CACHE_KIB}`];
  try {
    return open(path, options, pragmas);
  } catch (error) {
    if (sqliteCode(error) !== 'SQLITE_READONLY_ROLLBACK') throw error;
    openForSealing(path).close();
    return open(path, options, pragmas);
  }
}

/** Runs `work` on a connection and closes it. */
export function closing<T>(connection: Connection, work: (connection: Connection) => T): T {
  try {
    return work(connection);
  } finally {
    connection.close();
  }
}

function open(path: string, options: Database.Options, pragmas: readonly string[]): Connection {
  const connection = new Database(path, options);
  try {
    // All in one call: a capture has hundreds of segments, and preparing statements takes most of the time to open one.
    connection.exec([...COMMON, ...pragmas].map((pragma) => `PRAGMA ${pragma}`).join(';'));
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Prepares an insert that binds every column of a table, in the order of its schema. */
export function insertInto<Bound extends unknown[]>(
  connection: Connection,
  table: string,
): Database.Statement<Bound> {
  return connection.prepare<Bound>(`INSERT INTO ${table} ${boundRow(columnsOf(connection, table))}`);
}

/**
 * Prepares an insert that adds to the row with the same key, which is the table's first column.
 * @param rows the query whose rows are added; without one, every column is bound
 * @param greatest the columns that keep the greater value instead of the sum
 */
export function addInto<Bound extends unknown[]>(
  connection: Connection,
  table: string,
  { rows, greatest = [] }: { readonly rows?: string; readonly greatest?: readonly string[] } = {},
): Database.Statement<Bound> {
  const columns = columnsOf(connection, table);
  const [key, ...values] = columns;
  const updates = values.map((name) =>
    greatest.includes(name)
      ? `${name} = coalesce(max(${name}, excluded.${name}), ${name}, excluded.${name})`
      : `${name} = ${name} + excluded.${name}`,
  );
  return connection.prepare<Bound>(`INSERT INTO ${table} ${rows ?? boundRow(columns)}
    ON CONFLICT (${key}) DO UPDATE SET ${updates.join(', ')}`);
}

function boundRow(columns: readonly string[]): string {
  return `VALUES (${columns.map(() => '?').join(', ')})`;
}

function columnsOf(connection: Connection, table: string): string[] {
  const columns = connection.pragma(`table_info(${table})`) as { readonly name: string }[];
  return columns.map(({ name }) => name);
}

/** Texts cached in memory. A client that invents routes costs a look-up each, but not unlimited memory. */
const TEXTS_REMEMBERED = 4_096;

/** Gives each repeated text a number: methods, routes, models, protocols, segments. */
export class TextIds {
  readonly #insert;
  readonly #find;
  readonly #ids = new Map<string, number>();

  /** @param table with the columns `id` and `text` */
  constructor(connection: Connection, table: string) {
    this.#insert = connection.prepare<[string]>(`INSERT INTO ${table} (text) VALUES (?)`);
    this.#find = connection.prepare<[string], number>(`SELECT id FROM ${table} WHERE text = ?`).pluck();
  }

  /** The number of a text; null for null. Call inside a transaction. */
  idOf(text: string | null): number | null {
    if (text === null) return null;
    const known = this.#ids.get(text);
    if (known !== undefined) return known;
    const id = this.#find.get(text) ?? Number(this.#insert.run(text).lastInsertRowid);
    if (this.#ids.size >= TEXTS_REMEMBERED) this.#ids.clear();
    this.#ids.set(text, id);
    return id;
  }

  /** Call when the transaction failed: its new texts do not exist. */
  rolledBack(): void {
    this.#ids.clear();
  }
}

/** A select list whose results are named as in TypeScript: `first_slot AS firstSlot`. */
export function selected(columns: string): string {
  return columns.replace(/\w+/g, (column) => {
    const name = column.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    return `${column} AS ${name}`;
  });
}

/** SQLite's result code of an error, such as `SQLITE_IOERR_FSYNC`; null for other errors. */
export function sqliteCode(error: unknown): string | null {
  return error instanceof Database.SqliteError ? error.code : null;
}

/** The loss reason of a batch that failed with this error. */
export function lossReasonOf(error: unknown): LossReason {
  const code = sqliteCode(error) ?? systemCode(error);
  if (code.startsWith('SQLITE_FULL') || code === 'ENOSPC' || code === 'EDQUOT') return 'disk_full';
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) return 'locked';
  if (code.startsWith('SQLITE_CORRUPT') || code.startsWith('SQLITE_NOTADB')) return 'corrupt';
  if (code.startsWith('SQLITE_') && !/^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG|RANGE)/.test(code))
    return 'io_error';
  // A system error code means a disk error. Anything else came from our own encoding.
  return /^E[A-Z]+$/.test(code) ? 'io_error' : 'encode_failed';
}

/** Converts a SQLite error on a segment into an error with a hint. */
export function segmentError(file: string, error: unknown): unknown {
  const code = sqliteCode(error);
  if (code === null) return error;
  if (DAMAGE.test(code)) return damaged(file, reasonOf(error), error);
  const [what, hint] = CODES.find(([pattern]) => pattern.test(code))?.slice(1) ?? UNNAMED;
  return new AppError('CAPTURE_DAMAGED', `segment ${file} ${what}: ${reasonOf(error)}`, {
    hint: String(hint),
    cause: error,
  });
}

/** Whether an error means damaged content rather than a file that could not be reached. */
export function isDamage(error: unknown): boolean {
  if (!(error instanceof AppError) || error.code !== 'CAPTURE_DAMAGED') return false;
  const code = sqliteCode(error.cause);
  return code === null || DAMAGE.test(code);
}

/** SQLite result codes of damaged content. */
const DAMAGE = /^SQLITE_(CORRUPT|NOTADB|ERROR|CONSTRAINT|MISMATCH)/;

const UNNAMED = ['cannot be read', 'Check its file system and disk.'] as const;
const CODES: readonly (readonly [RegExp, string, string])[] = [
  [/^SQLITE_(BUSY|LOCKED)/, 'is locked by another process', 'Try again when the recorder has sealed it.'],
  [
    /^SQLITE_(CANTOPEN|READONLY|PERM|AUTH)/,
    'cannot be opened',
    'Check its owner and mode; an unsealed segment must lie in a directory this user may write to.',
  ],
  [/^SQLITE_FULL/, 'cannot be written', 'Free disk space.'],
];

/** A segment with damaged content. */
export function damaged(file: string, what: string, cause?: unknown): AppError {
  return new AppError('CAPTURE_DAMAGED', `segment ${file} is damaged: ${what}`, {
    hint: `Move ${file} and its manifest out of the capture to read the rest, or restore it from a copy.`,
    cause,
  });
}

/** A segment that disappeared after the capture was listed. */
export function takenAway(file: string): AppError {
  return new AppError('CAPTURE_NOT_FOUND', `segment ${file} was removed while the capture was read`, {
    hint: 'Retention removed it, or it was moved. Read a later window, or a copy of the capture.',
  });
}

/** The result of `ask`; null if the segment that it reads was removed since the directory was listed. */
export function orGone<T>(ask: () => T): T | null {
  try {
    return ask();
  } catch (error) {
    if (error instanceof AppError && error.code === 'CAPTURE_NOT_FOUND') return null;
    throw error;
  }
}

function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
