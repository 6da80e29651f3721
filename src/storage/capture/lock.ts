import { accessSync, closeSync, constants, openSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { AppError } from '../../core/errors.ts';
import { LOCK_FILE } from './directory.ts';
import { type Connection, sqliteCode } from './sqlite.ts';

/** Whoever looks whether a lock is held has it for some microseconds; a start is not refused for that. */
const LOOKED_AT_MS = 100;

/** Who holds a lock, for the one who cannot have it. */
interface LockHolder {
  readonly host: string;
  readonly pid: number;
}

/**
 * Sees to it that one directory has one writer: a write lock on `recorder.lock` (or another), itself a small SQLite file.
 *
 * The kernel gives the lock back when its process ends, however it ends. A file with a process id would have
 * to be judged stale by whoever comes next, which fails exactly where recorders run: in containers every
 * process is number 1 of a namespace of its own.
 */
export class DirectoryLock {
  /**
   * Those that were not released, by their files: a connection that nobody refers to is closed with its collection,
   * and the lock is gone.
   */
  static readonly #held = new Map<string, DirectoryLock>();
  readonly #connection: Connection;
  readonly #inode: string;

  private constructor(connection: Connection, inode: string) {
    this.#connection = connection;
    this.#inode = inode;
  }

  /**
   * @param file another lock than the writer's, for what may go on beside it
   * @throws AppError OUTPUT_UNWRITABLE when another process writes this directory, or this one does already.
   */
  static acquire(captureDirectory: string, file: string = LOCK_FILE): DirectoryLock {
    const path = join(captureDirectory, file);
    // To open and close a file that is locked would drop the locks that its own process has on it.
    if (DirectoryLock.#held.has(inodeOf(path) ?? '')) {
      throw refused(captureDirectory, { host: hostname(), pid: process.pid });
    }
    // Made by us first, for its mode. Appending nothing leaves what is there as it is.
    closeSync(openSync(path, 'a', 0o600));
    const connection = new Database(path, { timeout: LOOKED_AT_MS });
    try {
      take(connection);
      const inode = inodeOf(path) ?? path;
      const lock = new DirectoryLock(connection, inode);
      DirectoryLock.#held.set(inode, lock);
      return lock;
    } catch (error) {
      const other = holderOf(connection);
      connection.close();
      if (!sqliteCode(error)?.startsWith('SQLITE_BUSY')) throw error;
      throw refused(captureDirectory, other, error);
    }
  }

  /** Lets others write. The file stays: unlinking a lock is how two come to hold it. */
  release(): void {
    DirectoryLock.#held.delete(this.#inode);
    if (this.#connection.inTransaction) this.#connection.exec('ROLLBACK');
    this.#connection.close();
  }
}

/**
 * Whether a recorder of any process and container of this host writes the directory now. False as well where that
 * cannot be asked: the directory is read-only, or another user's.
 */
export function isHeld(captureDirectory: string): boolean {
  const path = join(captureDirectory, LOCK_FILE);
  try {
    // A connection that may only read has a lock of nobody refused.
    accessSync(path, constants.W_OK);
    const connection = new Database(path, { timeout: 0, fileMustExist: true });
    try {
      connection.exec('BEGIN IMMEDIATE');
      connection.exec('ROLLBACK');
      return false;
    } catch (error) {
      return sqliteCode(error)?.startsWith('SQLITE_BUSY') === true;
    } finally {
      connection.close();
    }
  } catch {
    // Nobody ever wrote here, or we may not: then others say whether somebody does.
    return false;
  }
}

function take(connection: Connection): void {
  connection.pragma('journal_mode = DELETE');
  connection.exec('BEGIN IMMEDIATE');
  connection.exec('CREATE TABLE IF NOT EXISTS holder (host TEXT NOT NULL, pid INTEGER NOT NULL) STRICT');
  connection.exec('DELETE FROM holder');
  connection.prepare('INSERT INTO holder VALUES (?, ?)').run(hostname(), process.pid);
  connection.exec('COMMIT');
  // Held from here on. Nothing is written under it, so others may still read who the holder is.
  connection.exec('BEGIN IMMEDIATE');
}

function holderOf(connection: Connection): LockHolder | null {
  try {
    return connection.prepare<[], LockHolder>('SELECT host, pid FROM holder').get() ?? null;
  } catch (error) {
    // The other one is just making the table, or holds the file for a moment: who it is stays unknown.
    if (sqliteCode(error) !== null) return null;
    throw error;
  }
}

/** What tells a file from all others, whatever path leads to it; null when there is none. */
function inodeOf(path: string): string | null {
  const status = statSync(path, { throwIfNoEntry: false });
  return status === undefined ? null : `${status.dev} ${status.ino}`;
}

function refused(captureDirectory: string, holder: LockHolder | null, cause?: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `${captureDirectory} is being written by ${describe(holder)}`, {
    hint:
      'Stop that one first, or give this one a directory of its own. ' +
      'A recorder whose proxy was killed ends by itself, once it has committed what it had.',
    cause,
  });
}

function describe(holder: LockHolder | null): string {
  return holder === null ? 'another recorder' : `process ${holder.pid} on ${holder.host}`;
}
