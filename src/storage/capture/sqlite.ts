import Database from 'better-sqlite3';
import type { LossReason } from '../../core/accounting.ts';
import { AppError, reasonOf } from '../../core/errors.ts';

export type Connection = Database.Database;

/** 3.7.0 to 3.51.2 can corrupt a database when its write-ahead log is reset. */
const LEAST_SQLITE_VERSION = [3, 51, 3] as const;
/** Of a segment's pages; each takes a few bytes more in the log. */
export const PAGE_BYTES = 8_192;
/** How long a statement waits for another connection's lock. */
const BUSY_TIMEOUT_MS = 5_000;
const READER_CACHE_KIB = 1_024;

/** Whether each commit reaches the platter (`commit`) or only a sealed segment does (`seal`). */
export type Durability = 'commit' | 'seal';

/**
 * Opens a file that is ours to write. Every pragma is said aloud: the binding's compiled defaults differ from
 * SQLite's, and `synchronous` reads back differently before and after the first write in WAL mode.
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
    // The writer checkpoints between batches itself, so that no checkpoint falls inside a commit.
    connection.pragma('wal_autocheckpoint = 0');
    connection.pragma(`synchronous = ${durability === 'commit' ? 'FULL' : 'OFF'}`);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Opens a finished segment to turn it into one plain file; its journal mode is left as it is found. */
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
 * Opens a new file that is filled in one go and synced by whoever fills it: what a crash leaves of it is thrown
 * away. Its journal is in memory, so that no other file ever holds a part of it.
 */
export function openForFilling(path: string, pageBytes: number): Connection {
  const connection = open(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
  try {
    connection.pragma(`page_size = ${pageBytes}`);
    connection.pragma('auto_vacuum = NONE');
    connection.pragma('cell_size_check = ON');
    connection.pragma('mmap_size = 0');
    connection.pragma('temp_store = MEMORY');
    // The binding's defensive mode refuses OFF, and says so in nothing but its answer.
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
 * Opens a file nobody may change through this connection. What a sealer that was killed left half written is taken
 * back first, as SQLite does for whoever comes next and may write: without that one segment would keep the whole
 * capture from being read until somebody seals it.
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

/** SQLite's result code of anything thrown, such as `SQLITE_IOERR_FSYNC`; null when it is no SQLite error. */
export function sqliteCode(error: unknown): string | null {
  return error instanceof Database.SqliteError ? error.code : null;
}

/** Why a batch that failed with this error is lost. */
export function lossReasonOf(error: unknown): LossReason {
  const code = sqliteCode(error) ?? systemCode(error);
  if (code.startsWith('SQLITE_FULL') || code === 'ENOSPC' || code === 'EDQUOT') return 'disk_full';
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) return 'locked';
  if (code.startsWith('SQLITE_CORRUPT') || code.startsWith('SQLITE_NOTADB')) return 'corrupt';
  if (code.startsWith('SQLITE_') && !/^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG|RANGE)/.test(code))
    return 'io_error';
  // A code of the system's is the disk's fault; anything else was thrown by our own encoding.
  return /^E[A-Z]+$/.test(code) ? 'io_error' : 'encode_failed';
}

/** Turns what SQLite says of a segment into an error the user can act on. */
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

/** Whether an error says that the content of a segment is spoilt, not that it could not be reached. */
export function isDamage(error: unknown): boolean {
  if (!(error instanceof AppError) || error.code !== 'CAPTURE_DAMAGED') return false;
  const code = sqliteCode(error.cause);
  return code === null || DAMAGE.test(code);
}

/** What SQLite says when what it reads is not what it (or we) wrote. */
const DAMAGE = /^SQLITE_(CORRUPT|NOTADB|ERROR|CONSTRAINT|MISMATCH)/;

const UNNAMED = ['cannot be read', 'See what its file system and disk say.'] as const;
const CODES: readonly (readonly [RegExp, string, string])[] = [
  [/^SQLITE_(BUSY|LOCKED)/, 'is locked by another process', 'Try again when the recorder has sealed it.'],
  [
    /^SQLITE_(CANTOPEN|READONLY|PERM|AUTH)/,
    'cannot be opened',
    'Check its owner and mode; an unsealed segment must lie in a directory this user may write to.',
  ],
  [/^SQLITE_FULL/, 'cannot be written', 'Make room on the disk.'],
];

/** A segment whose content cannot be believed. */
export function damaged(file: string, what: string, cause?: unknown): AppError {
  return new AppError('CAPTURE_DAMAGED', `segment ${file} is damaged: ${what}`, {
    hint: `Take ${file} and its manifest out of the capture to read the rest, or restore it from where it was shipped.`,
    cause,
  });
}

/** A segment that was there when the capture was listed, and is no more. */
export function takenAway(file: string): AppError {
  return new AppError('CAPTURE_NOT_FOUND', `segment ${file} was taken away while the capture was read`, {
    hint: 'Retention took it, or somebody moved it. Read a later window, or a copy of the capture.',
  });
}

function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
