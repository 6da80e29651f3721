import { closeSync, openSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { AppError } from '../../core/errors.ts';
import { LOCK_FILE } from './directory.ts';
import { type Connection, sqliteCode } from './sqlite.ts';

/** A process that takes the lock writes its name into the file first. Another process waits this long to read it. */
const NAMED_MS = 100;

/** The holder of a lock, for the error message. */
interface LockHolder {
  readonly host: string;
  readonly pid: number;
}

/**
 * Gives one directory one writer: a write lock on `recorder.lock` (or another), itself a small SQLite file.
 *
 * The kernel releases the lock when its process ends for any reason. With a process id in a file, the next
 * process would have to decide whether it is stale. That fails in containers, where every process has number
 * 1 of its own namespace.
 */
export class DirectoryLock {
  /**
   * Locks that were not released, by file. An unreferenced connection would be closed by the garbage
   * collector and lose its lock.
   */
  static readonly #held = new Map<string, DirectoryLock>();
  readonly #connection: Connection;
  readonly #inode: string;

  private constructor(connection: Connection, inode: string) {
    this.#connection = connection;
    this.#inode = inode;
  }

  /**
   * @param file a different lock from the writer's, for work that may run beside it
   * @throws AppError OUTPUT_UNWRITABLE when another process, or this one, already writes this directory
   */
  static acquire(captureDirectory: string, file: string = LOCK_FILE): DirectoryLock {
    const path = join(captureDirectory, file);
    // Opening and closing a locked file would drop the locks that this process has on it.
    if (DirectoryLock.#held.has(inodeOf(path) ?? '')) {
      throw refused(captureDirectory, { host: hostname(), pid: process.pid });
    }
    // Created first to set its mode. Appending nothing changes nothing.
    closeSync(openSync(path, 'a', 0o600));
    const connection = new Database(path, { timeout: NAMED_MS });
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

  /** Releases the lock. The file stays: after unlinking it, two processes could hold the lock. */
  release(): void {
    DirectoryLock.#held.delete(this.#inode);
    if (this.#connection.inTransaction) this.#connection.exec('ROLLBACK');
    this.#connection.close();
  }
}

function take(connection: Connection): void {
  connection.pragma('journal_mode = DELETE');
  connection.exec('BEGIN IMMEDIATE');
  connection.exec('CREATE TABLE IF NOT EXISTS holder (host TEXT NOT NULL, pid INTEGER NOT NULL) STRICT');
  connection.exec('DELETE FROM holder');
  connection.prepare('INSERT INTO holder VALUES (?, ?)').run(hostname(), process.pid);
  connection.exec('COMMIT');
  // Held from here on. Nothing is written under it, so others can still read the holder.
  connection.exec('BEGIN IMMEDIATE');
}

function holderOf(connection: Connection): LockHolder | null {
  try {
    return connection.prepare<[], LockHolder>('SELECT host, pid FROM holder').get() ?? null;
  } catch (error) {
    // The other process is creating the table or holds the file briefly: the holder stays unknown.
    if (sqliteCode(error) !== null) return null;
    throw error;
  }
}

/** Identity of a file, independent of the path to it; null if it does not exist. */
function inodeOf(path: string): string | null {
  const status = statSync(path, { throwIfNoEntry: false });
  return status === undefined ? null : `${status.dev} ${status.ino}`;
}

function refused(captureDirectory: string, holder: LockHolder | null, cause?: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `${captureDirectory} is being written by ${describe(holder)}`, {
    hint:
      'Stop that one first, or use another directory. ' +
      'A recorder whose proxy was killed exits once it has committed its data.',
    cause,
  });
}

function describe(holder: LockHolder | null): string {
  return holder === null ? 'another recorder' : `process ${holder.pid} on ${holder.host}`;
}
