import { chmodSync, closeSync, openSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import {
  type AnswerCheck,
  type CheckedSend,
  checkWord,
  hasFailed,
  lagNsOf,
  type Run,
  type RunSecond,
  type RunTotals,
  type Send,
} from '../../core/run.ts';
import { NS_PER_S } from '../../core/units.ts';
import type { MonitorSample } from '../../documents/monitors.ts';
import { makeDirectories, syncPath, writeFileDurably } from '../capture/directory.ts';
import { addInto, type Connection, insertInto, openForWriting, TextIds } from '../capture/sqlite.ts';
import { MonitorWriter, monitorSamplesIn, type StoredSeries } from './monitored.ts';
import { ANSWERED_WHOLE, RUN_DATABASE, RUN_FORMAT_VERSION, RUN_SCHEMA, RUN_SUMMARY } from './schema.ts';

const PRIVATE_DIRECTORY = 0o700;
const PRIVATE_FILE = 0o600;
const WAL_PAGES = 2_000;
/** Rows arrive in key order, so few pages are open at a time. The replay needs the memory. */
const CACHE_KIB = 2_048;

const SET_CHECK = 'UPDATE send_row SET check_result = ?, check_pointer = ? WHERE send_index = ?';

/**
 * A run as a directory (0700) of two files (0600). `run.sqlite` has every send and second. `summary.json`
 * appears when the run is sealed and makes it immutable.
 *
 * Single commits are not synced to disk: a crash of the process loses nothing. A power cut may lose a run,
 * but unlike a recording it can be repeated. Sealing syncs everything.
 */
export class SqliteRunStore {
  readonly #directory: string;
  readonly #connection: Connection;
  readonly #labels: TextIds;
  readonly #setCheck;
  readonly #monitors: MonitorWriter;
  /** Appends sends in one transaction. */
  readonly #appendAll: (sends: readonly Send[]) => void;

  /**
   * Creates the directory and its parents.
   * @throws AppError OUTPUT_EXISTS when it is not empty, OUTPUT_UNWRITABLE when it cannot be created
   */
  constructor(directory: string) {
    this.#directory = directory;
    makeRunDirectory(directory);
    this.#connection = writing(directory, () => createDatabase(join(directory, RUN_DATABASE)));
    this.#labels = new TextIds(this.#connection, 'label');
    const insert = insertInto<Bound[]>(this.#connection, 'send_row');
    this.#setCheck = this.#connection.prepare(SET_CHECK);
    this.#monitors = new MonitorWriter(this.#connection);
    const addSecond = addInto<(number | null)[]>(this.#connection, 'second', {
      greatest: ['lag_max_ns'],
    });
    this.#appendAll = this.#connection.transaction((sends: readonly Send[]) => {
      for (const send of sends) insert.run(...columnsOf(send, this.#labels));
      for (const counts of secondsOf(sends)) addSecond.run(...Object.values(counts));
    });
  }

  /**
   * Stores finished sends, each once, in any order. Takes some microseconds per send; a batch is one
   * transaction.
   * @throws AppError OUTPUT_UNWRITABLE when the disk refuses or the run was removed; then nothing of the
   * batch is stored
   */
  append(sends: readonly Send[]): void {
    if (sends.length === 0) return;
    try {
      writing(this.#directory, () => {
        // SQLite would continue to write into a deleted file and report that only at the end of the run.
        statSync(join(this.#directory, RUN_DATABASE));
        this.#appendAll(sends);
      });
    } catch (error) {
      this.#labels.rolledBack();
      throw error;
    }
  }

  /** Stores answer comparisons of sends stored before, each once. @throws AppError OUTPUT_UNWRITABLE */
  appendChecks(sends: readonly CheckedSend[]): void {
    writing(this.#directory, () =>
      this.#connection.transaction(() => {
        for (const { index, check } of sends) this.#setCheck.run(...checkColumns(check), index);
      })(),
    );
  }

  /** Stores a series before its first value. @throws AppError OUTPUT_UNWRITABLE */
  addMonitorSeries(series: StoredSeries): void {
    writing(this.#directory, () => this.#monitors.addSeries(series));
  }

  /** Stores what one look found. @throws AppError OUTPUT_UNWRITABLE */
  addMonitorSamples(samples: Iterable<MonitorSample & { readonly series: number }>): void {
    writing(this.#directory, () => this.#monitors.addSamples(samples));
  }

  /** The stored values of one series, in order of time. */
  monitorSamples(series: number): MonitorSample[] {
    return monitorSamplesIn(this.#connection, series);
  }

  /** Ends the run: syncs everything, then writes `summary.json`. */
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

  /** Closes the files. An unsealed run stays readable and is marked as unsealed. */
  close(): void {
    this.#connection.close();
  }
}

function makeRunDirectory(directory: string): void {
  writing(directory, () => {
    makeDirectories(directory, PRIVATE_DIRECTORY);
    if (readdirSync(directory).length > 0) {
      throw new AppError('OUTPUT_EXISTS', `${directory} is not empty`, {
        hint: 'Name a new directory. A run is never overwritten.',
      });
    }
    // The umask applies to mkdir's mode, and the empty directory may have existed before.
    chmodSync(directory, PRIVATE_DIRECTORY);
  });
}

function createDatabase(path: string): Connection {
  // Created first: otherwise SQLite gives this file and its side files the umask's mode.
  closeSync(openSync(path, 'wx', PRIVATE_FILE));
  const connection = openForWriting(path, 'seal');
  try {
    connection.pragma(`cache_size = -${CACHE_KIB}`);
    connection.pragma(`wal_autocheckpoint = ${WAL_PAGES}`);
    // A label is written before the first row that refers to it. Checking that for each row takes longer than
    // inserting it.
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

/** Runs a writing step and converts its errors into one that names the run. */
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

type Bound = number | string | Uint8Array | null;

/** The columns of `send_row`, in the order of the schema. */
function columnsOf(send: Send, labels: TextIds): Bound[] {
  const { answer } = send;
  return [
    send.index,
    labels.idOf(send.segment),
    send.exchangeId,
    labels.idOf(send.route),
    labels.idOf(send.model),
    labels.idOf(send.client),
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
    Number(send.refused),
    Number(send.cancelled),
    // One column for both: an expected stream that came whole is neither 0 nor 1.
    send.unstreamed ? ANSWERED_WHOLE : Number(send.streamed),
    answer?.contentEvents ?? null,
    answer?.firstTokenOffsetNs ?? null,
    answer?.lastTokenOffsetNs ?? null,
    answer?.gapMaxNs ?? null,
    answer?.gaps ?? null,
    answer?.promptTokens ?? null,
    answer?.outputTokens ?? null,
    answer?.finish ?? null,
    Number(send.warmup),
    ...checkColumns(send.check ?? null),
    numberOf(send.tellsError),
    send.recorded?.status ?? null,
    send.recorded?.bytes ?? null,
    numberOf(send.recorded?.streamed),
    send.recorded?.tookNs ?? null,
    numberOf(send.recorded?.tellsError),
    send.bodyCrc ?? null,
    send.recorded?.outputTokens ?? null,
    send.recorded?.body ?? null,
    send.writeNs,
    send.pausedNs,
    answer?.firstTokenPausedNs ?? null,
    answer?.lastTokenPausedNs ?? null,
    answer?.unpausedGaps ?? null,
    send.recorded?.finish ?? null,
    send.grpcStatus ?? null,
    answer?.cachedTokens ?? null,
    send.recorded?.promptTokens ?? null,
    send.recorded?.cachedTokens ?? null,
  ];
}

function numberOf(fact: boolean | null | undefined): number | null {
  return fact == null ? null : Number(fact);
}

/** A comparison result as two columns. */
function checkColumns(check: AnswerCheck | null): readonly [string | null, string | null] {
  if (check === null) return [null, null];
  return [checkWord(check), check.result === 'mismatch' ? check.pointer : null];
}

type SecondCounts = { -readonly [Name in Exclude<keyof RunSecond, 'inFlight'>]: RunSecond[Name] };

/** What a batch of sends adds to each second of the run. */
function secondsOf(sends: readonly Send[]): Iterable<SecondCounts> {
  const seconds = new Map<number, SecondCounts>();
  const at = (offsetNs: number): SecondCounts => {
    const second = Math.floor(offsetNs / NS_PER_S);
    const none = { offered: 0, sent: 0, completed: 0, failed: 0, cancelled: 0, refused: 0 };
    const counts = seconds.get(second) ?? { second, ...none, lagMaxNs: null };
    seconds.set(second, counts);
    return counts;
  };
  for (const send of sends) {
    const { intendedOffsetNs, actualOffsetNs, lastByteOffsetNs } = send;
    at(intendedOffsetNs).offered += 1;
    if (send.refused) at(intendedOffsetNs).refused += 1;
    if (send.refused || actualOffsetNs === null) continue;
    const left = at(actualOffsetNs);
    left.sent += 1;
    left.lagMaxNs = Math.max(left.lagMaxNs ?? 0, lagNsOf({ ...send, actualOffsetNs }));
    const ended = at(lastByteOffsetNs ?? actualOffsetNs);
    if (send.cancelled) ended.cancelled += 1;
    else if (hasFailed(send)) ended.failed += 1;
    else ended.completed += 1;
  }
  return seconds.values();
}
