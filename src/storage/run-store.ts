import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { RunStore } from '../core/ports.ts';
import type { CheckedSend, Run, RunTotals, Send } from '../core/run.ts';
import { type Connection, openForWriting } from './database.ts';
import { syncPath, writeFileDurably } from './durable-files.ts';
import { RUN_DATABASE, RUN_FORMAT_VERSION, RUN_SCHEMA, RUN_SUMMARY } from './run-schema.ts';
import { RunSeconds } from './run-seconds.ts';
import { checkColumns, SendInserter } from './send-inserter.ts';

const PRIVATE_DIRECTORY = 0o700;
const PRIVATE_FILE = 0o600;
const WAL_PAGES = 2_000;
/** Rows come about in the order of their keys: few pages are written at a time, and memory is the replay's. */
const CACHE_KIB = 2_048;

const SET_CHECK = 'UPDATE send_row SET check_result = ?, check_pointer = ? WHERE send_index = ?';

/**
 * A run as a directory (0700) of two files (0600): `run.sqlite` with every send and each second, and
 * `summary.json`, which appears when the run is sealed and makes it immutable.
 *
 * Commits are not forced to the disk one by one: a crash of the process loses nothing, and a run that a power
 * cut took can be played again, which a recording cannot. Sealing forces everything.
 */
export class SqliteRunStore implements RunStore {
  readonly #directory: string;
  readonly #connection: Connection;
  readonly #inserter: SendInserter;
  readonly #setCheck;
  readonly #seconds: RunSeconds;
  /** In one transaction. */
  readonly #appendAll: (sends: readonly Send[]) => void;

  /**
   * Makes the directory, parents included.
   * @throws AppError OUTPUT_EXISTS when something is in it already, OUTPUT_UNWRITABLE when it cannot be made.
   */
  constructor(directory: string) {
    this.#directory = directory;
    makeRunDirectory(directory);
    this.#connection = writing(directory, () => createDatabase(join(directory, RUN_DATABASE)));
    this.#inserter = new SendInserter(this.#connection);
    this.#setCheck = this.#connection.prepare(SET_CHECK);
    this.#seconds = new RunSeconds(this.#connection);
    this.#appendAll = this.#connection.transaction((sends: readonly Send[]) => {
      this.#inserter.insert(sends);
      this.#seconds.write(sends);
    });
  }

  /**
   * Keeps finished sends, each once, in any order. Some microseconds a send; a batch is one transaction.
   * @throws AppError OUTPUT_UNWRITABLE when the disk refuses, or the run was removed; nothing of the batch is kept then.
   */
  append(sends: readonly Send[]): void {
    if (sends.length === 0) return;
    try {
      writing(this.#directory, () => {
        // SQLite writes on into a file that was removed, and would say so at the end of the run.
        statSync(join(this.#directory, RUN_DATABASE));
        this.#appendAll(sends);
      });
    } catch (error) {
      this.#inserter.rolledBack();
      throw error;
    }
    this.#inserter.committed();
  }

  /** Keeps how answers compare whose sends were kept before, each once. @throws AppError OUTPUT_UNWRITABLE */
  appendChecks(sends: readonly CheckedSend[]): void {
    writing(this.#directory, () =>
      this.#connection.transaction(() => {
        for (const { index, check } of sends) this.#setCheck.run(...checkColumns(check), index);
      })(),
    );
  }

  /** Ends the run: everything reaches the disk, then `summary.json` appears. */
  seal(run: Run, totals: RunTotals, summary: object): void {
    writing(this.#directory, () => {
      const setMeta = this.#connection.prepare('INSERT INTO meta (key, value) VALUES (?, ?)');
      this.#connection.transaction(() => {
        setMeta.run('run', JSON.stringify(run));
        setMeta.run('totals', JSON.stringify(totals));
      })();
      this.#connection.pragma('wal_checkpoint(TRUNCATE)');
      this.#connection.pragma('journal_mode = DELETE');
      this.#connection.close();
      syncPath(join(this.#directory, RUN_DATABASE));
      const text = `${JSON.stringify(summary, null, 2)}\n`;
      writeFileDurably(join(this.#directory, RUN_SUMMARY), text, PRIVATE_FILE);
    });
  }

  /** Lets go of the files. A run that was not sealed stays readable, and says that it was not. */
  close(): void {
    this.#connection.close();
  }
}

function makeRunDirectory(directory: string): void {
  writing(directory, () => {
    mkdirSync(directory, { recursive: true, mode: PRIVATE_DIRECTORY });
    if (readdirSync(directory).length > 0) {
      throw new AppError('OUTPUT_EXISTS', `${directory} is not empty`, {
        hint: 'Name a directory that does not exist yet; a run is never written over.',
      });
    }
    // The mode given to mkdir passes through the umask, and an empty directory may have been there before.
    chmodSync(directory, PRIVATE_DIRECTORY);
  });
}

function createDatabase(path: string): Connection {
  // Made beforehand, because SQLite gives a new file, and from it the files beside it, the umask's mode.
  closeSync(openSync(path, 'wx', PRIVATE_FILE));
  const connection = openForWriting(path, 'seal');
  try {
    connection.pragma(`cache_size = -${CACHE_KIB}`);
    connection.pragma(`wal_autocheckpoint = ${WAL_PAGES}`);
    // A label is written before the first row that names it; to look that up again for each row takes longer than
    // to find its place.
    connection.pragma('foreign_keys = OFF');
    connection.pragma(`journal_size_limit = ${LIMITS.walBytes}`);
    connection.exec(RUN_SCHEMA);
    connection
      .prepare('INSERT INTO meta (key, value) VALUES (?, ?)')
      .run('format_version', String(RUN_FORMAT_VERSION));
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Runs a step that writes, and says which run it was when the disk or the rights were not there for it. */
function writing<T>(directory: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('OUTPUT_UNWRITABLE', `the run ${directory} cannot be written: ${reasonOf(error)}`, {
      hint: 'Check the path, its owner and the free space, or name another directory.',
      cause: error,
    });
  }
}
