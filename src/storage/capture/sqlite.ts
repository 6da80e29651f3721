import Database from 'better-sqlite3';
import type { LossReason } from '../../core/accounting.ts';
import { AppError, reasonOf } from '../../core/errors.ts';

export type Connection = Database.Database;

/** 3.7.0 to 3.51.2 can corrupt a database when its write-ahead log is reset. */
const LEAST_SQLITE_VERSION = [3, 51, 3] as const;
/** Page size of a segment; each page takes a few bytes more in the log. */
export const PAGE_BYTES = 8_192;
/** How long a statement waits for another connection's lock. */
const BUSY_TIMEOUT_MS = 5_000;
const READER_CACHE_KIB = 1_024;

/** Whether each commit is synced to disk (`commit`) or only a sealed segment (`seal`). */
export type Durability = 'commit' | 'seal';

/**
 * Opens a file for writing. Every pragma is set explicitly: the binding's compiled defaults differ from
 * SQLite's. `synchronous` also reads back differently before and after the first write in WAL mode.
 */
export function openForWriting(path: string, durability: Durability): Connection {
  const connection = open(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    connection.pragma(`page_size = ${PAGE_BYTES}`);
    connection.pragma('auto_vacuum = NONE');
    connection.pragma('cell_size_check = ON');
    connection.pragma('mmap_size = 0');
    connection.pragma('temp_store = MEMORY');
    connection.pragma('cache_size = -8192');
    connection.pragma('journal_mode = WAL');
    // The writer checkpoints between batches, so no checkpoint falls inside a commit.
    connection.pragma('wal_autocheckpoint = 0');
    connection.pragma(`synchronous = ${durability === 'commit' ? 'FULL' : 'OFF'}`);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Opens a finished segment to convert it into one plain file. Its journal mode is not changed. */
export function openForSealing(path: string): Connection {
  const connection = open(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
  try {
    connection.pragma('cell_size_check = ON');
    connection.pragma('mmap_size = 0');
    connection.pragma('temp_store = MEMORY');
    connection.pragma('synchronous = FULL');
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/**
 * Opens a new file that is filled at once and synced by the caller. After a crash it is discarded. Its
 * journal is in memory, so no other file ever holds a part of it.
 */
export function openForFilling(path: string, pageBytes: number): Connection {
  const connection = open(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
  try {
    connection.pragma(`page_size = ${pageBytes}`);
    connection.pragma('auto_vacuum = NONE');
    connection.pragma('cell_size_check = ON');
    connection.pragma('mmap_size = 0');
    connection.pragma('temp_store = MEMORY');
    // The binding's defensive mode refuses OFF, and reports that only in its answer.
    const journal = connection.pragma('journal_mode = MEMORY', { simple: true });
    if (journal !== 'memory') throw new AppError('INTERNAL', `the journal of ${path} is ${journal}`);
    connection.pragma('synchronous = OFF');
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/**
 * Opens a file read-only. If a killed sealer left a half-written transaction, that is rolled back first, as
 * SQLite does for the next writer. Otherwise one segment would make the whole capture unreadable until it is
 * sealed.
 */
export function openForReading(path: string): Connection {
  const connection = openReadOnly(path);
  try {
    connection.pragma('cell_size_check = ON');
    connection.pragma('mmap_size = 0');
    connection.pragma('temp_store = MEMORY');
    connection.pragma(`cache_size = -${READER_CACHE_KIB}`);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

function openReadOnly(path: string): Connection {
  const options = { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS };
  try {
    return open(path, options);
  } catch (error) {
    if (sqliteCode(error) !== 'SQLITE_READONLY_ROLLBACK') throw error;
    open(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS }).close();
    return open(path, options);
  }
}

function open(path: string, options: Database.Options): Connection {
  const connection = new Database(path, options);
  const version = connection.prepare<[], string>('SELECT sqlite_version()').pluck().get() ?? '0.0.0';
  if (isOlder(version)) {
    connection.close();
    throw new AppError('INTERNAL', `SQLite ${version} can damage a capture (bug fixed in 3.51.3)`, {
      hint: 'Install the better-sqlite3 version that package.json pins.',
    });
  }
  return connection;
}

function isOlder(version: string): boolean {
  const parts = version.split('.').map(Number);
  for (const [index, least] of LEAST_SQLITE_VERSION.entries()) {
    const part = parts[index] ?? 0;
    if (part !== least) return part < least;
  }
  return false;
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

function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
