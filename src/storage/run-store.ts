import { chmodSync, closeSync, mkdirSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type AnswerCheck, type CheckedSend, checkWord } from '../core/answer-check.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { RunStore } from '../core/ports.ts';
import type { Run, RunTotals, Send, SendAnswer } from '../core/run.ts';
import { type Connection, openForWriting } from './database.ts';
import { syncPath, writeFileDurably } from './durable-files.ts';
import { RUN_DATABASE, RUN_FORMAT_VERSION, RUN_SCHEMA, RUN_SUMMARY } from './run-schema.ts';
import { RunSeconds } from './run-seconds.ts';

const PRIVATE_DIRECTORY = 0o700;
const PRIVATE_FILE = 0o600;
const WAL_PAGES = 2_000;

const COLUMNS = [
  ...['send_index', 'segment', 'exchange_id', 'route', 'model', 'request_bytes'],
  ...['intended_offset_ns', 'actual_offset_ns', 'connection_wait_ns', 'start_offset_ns'],
  ...['first_byte_offset_ns', 'last_byte_offset_ns', 'status', 'response_bytes', 'error', 'refused'],
  ...['cancelled', 'streamed', 'content_events', 'first_token_offset_ns', 'last_token_offset_ns'],
  ...['gap_max_ns', 'gaps', 'prompt_tokens', 'output_tokens', 'finish_reason', 'warmup'],
  ...['check_result', 'check_pointer'],
];

/** Rows that one statement writes: running it costs as much as some of its rows. */
const ROWS_AT_ONCE = 16;

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
  readonly #insertOne;
  readonly #insertMany;
  readonly #insertLabel;
  readonly #setCheck;
  readonly #seconds: RunSeconds;
  readonly #labels = new Map<string, number>();

  /**
   * Makes the directory, parents included.
   * @throws AppError OUTPUT_EXISTS when something is in it already, OUTPUT_UNWRITABLE when it cannot be made.
   */
  constructor(directory: string) {
    this.#directory = directory;
    makeRunDirectory(directory);
    this.#connection = writing(directory, () => createDatabase(join(directory, RUN_DATABASE)));
    this.#insertOne = this.#connection.prepare<[unknown[]]>(insertSql(1));
    this.#insertMany = this.#connection.prepare<[unknown[]]>(insertSql(ROWS_AT_ONCE));
    this.#insertLabel = this.#connection.prepare<[number, string]>(
      'INSERT INTO label (id, text) VALUES (?, ?)',
    );
    this.#setCheck = this.#connection.prepare(SET_CHECK);
    this.#seconds = new RunSeconds(this.#connection);
  }

  /**
   * Keeps finished sends, each once, in any order. Some microseconds a send; a batch is one transaction.
   * @throws AppError OUTPUT_UNWRITABLE when the disk refuses; nothing of the batch is kept then.
   */
  append(sends: readonly Send[]): void {
    if (sends.length === 0) return;
    const labelsBefore = this.#labels.size;
    try {
      writing(this.#directory, () => this.#connection.transaction(() => this.#appendAll(sends))());
    } catch (error) {
      for (const text of [...this.#labels.keys()].slice(labelsBefore)) this.#labels.delete(text);
      throw error;
    }
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

  #appendAll(sends: readonly Send[]): void {
    const many = sends.length - (sends.length % ROWS_AT_ONCE);
    let bound: unknown[] = [];
    for (const [place, send] of sends.entries()) {
      this.#bind(bound, send);
      if (place < many && bound.length < ROWS_AT_ONCE * COLUMNS.length) continue;
      (place < many ? this.#insertMany : this.#insertOne).run(bound);
      bound = [];
    }
    this.#seconds.write(sends);
  }

  /** Appends what one row binds, in the order of the columns. */
  #bind(bound: unknown[], send: Send): void {
    bound.push(
      send.index,
      this.#labelOf(send.segment),
      send.exchangeId,
      send.route === null ? null : this.#labelOf(send.route),
      send.model === null ? null : this.#labelOf(send.model),
      send.requestBytes,
      send.intendedOffsetNs,
      send.actualOffsetNs,
      send.connectionWaitNs,
      send.startOffsetNs,
      send.firstByteOffsetNs,
      send.lastByteOffsetNs,
      send.status,
      send.responseBytes,
      send.error,
      send.refused ? 1 : 0,
      send.cancelled ? 1 : 0,
      send.streamed ? 1 : 0,
    );
    bindAnswer(bound, send.answer);
    const [result, pointer] = checkColumns(send.check ?? null);
    bound.push(send.warmup ? 1 : 0, result, pointer);
  }

  #labelOf(text: string): number {
    const known = this.#labels.get(text);
    if (known !== undefined) return known;
    const id = this.#labels.size + 1;
    this.#insertLabel.run(id, text);
    this.#labels.set(text, id);
    return id;
  }
}

function insertSql(rows: number): string {
  const row = `(${COLUMNS.map(() => '?').join(', ')})`;
  return `INSERT INTO send_row (${COLUMNS.join(', ')}) VALUES ${Array.from({ length: rows }, () => row).join(', ')}`;
}

function bindAnswer(bound: unknown[], answer: SendAnswer | null): void {
  if (answer === null) {
    bound.push(null, null, null, null, null, null, null, null);
    return;
  }
  bound.push(
    answer.contentEvents,
    answer.firstTokenOffsetNs,
    answer.lastTokenOffsetNs,
    answer.gapMaxNs,
    answer.gaps,
    answer.promptTokens,
    answer.outputTokens,
    answer.finish,
  );
}

const NO_CHECK: readonly [null, null] = [null, null];

function checkColumns(check: AnswerCheck | null): readonly [string | null, string | null] {
  if (check === null) return NO_CHECK;
  return [checkWord(check), check.result === 'mismatch' ? check.pointer : null];
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
    connection.pragma(`wal_autocheckpoint = ${WAL_PAGES}`);
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
