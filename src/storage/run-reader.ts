import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, reasonOf } from '../core/errors.ts';
import type { Run, RunTotals, Send } from '../core/run.ts';
import { type Connection, openForReading } from './database.ts';
import { RUN_DATABASE, RUN_FORMAT_VERSION, RUN_SUMMARY } from './run-schema.ts';

/** What happened within one second of a run; `inFlight` and `lagMaxNs` at and up to its end. */
export interface RunSecond {
  readonly second: number;
  readonly offered: number;
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  readonly refused: number;
  readonly inFlight: number;
  readonly lagMaxNs: number | null;
}

type StoredSend = Omit<Send, 'refused'> & { readonly refused: number };

/** A run read back. One that never ended in order is not sealed and has neither facts nor summary. */
export class RunReader {
  readonly sealed: boolean;
  readonly run: Run | null;
  readonly totals: RunTotals | null;
  /** The document of `summary.json`. */
  readonly summary: object | null;
  readonly #connection: Connection;

  /** @throws AppError INPUT_INVALID when it is no run, or a damaged one; SCHEMA_TOO_NEW for a later format. */
  constructor(directory: string) {
    const summaryPath = join(directory, RUN_SUMMARY);
    this.#connection = openRun(directory);
    try {
      const meta = readMeta(this.#connection);
      checkVersion(directory, meta.get('format_version'));
      this.sealed = existsSync(summaryPath);
      this.run = parse<Run>(meta.get('run'));
      this.totals = parse<RunTotals>(meta.get('totals'));
      this.summary = this.sealed ? parse<object>(readFileSync(summaryPath, 'utf8')) : null;
    } catch (error) {
      this.#connection.close();
      throw error instanceof AppError ? error : noRun(directory, error);
    }
  }

  /** Sends in the order of the schedule, at constant memory. */
  *sends(): Generator<Send> {
    const rows = this.#connection.prepare<[], StoredSend>(`
      SELECT
        send_index AS "index", segment, exchange_id AS exchangeId, route, model, request_bytes AS requestBytes,
        intended_offset_ns AS intendedOffsetNs, actual_offset_ns AS actualOffsetNs,
        connection_wait_ns AS connectionWaitNs, start_offset_ns AS startOffsetNs, first_byte_offset_ns AS firstByteOffsetNs,
        last_byte_offset_ns AS lastByteOffsetNs, status, response_bytes AS responseBytes, error, refused
      FROM send ORDER BY send_index`);
    for (const row of rows.iterate()) yield { ...row, refused: row.refused === 1 };
  }

  /** The seconds in which anything happened, in order. */
  series(): RunSecond[] {
    return this.#connection
      .prepare<[], RunSecond>(`
        SELECT second, offered, sent, completed, failed, refused, in_flight AS inFlight, lag_max_ns AS lagMaxNs
        FROM series ORDER BY second`)
      .all();
  }

  close(): void {
    this.#connection.close();
  }
}

function openRun(directory: string): Connection {
  try {
    return openForReading(join(directory, RUN_DATABASE));
  } catch (error) {
    throw error instanceof AppError ? error : noRun(directory, error);
  }
}

function readMeta(connection: Connection): Map<string, string> {
  const rows = connection.prepare<[], { key: string; value: string }>('SELECT key, value FROM meta').all();
  return new Map(rows.map(({ key, value }) => [key, value]));
}

function checkVersion(directory: string, version: string | undefined): void {
  if (version !== undefined && Number(version) <= RUN_FORMAT_VERSION) return;
  throw new AppError('SCHEMA_TOO_NEW', `the run ${directory} has format ${version ?? 'unknown'}`, {
    hint: `This version reads runs up to format ${RUN_FORMAT_VERSION}; use the one that wrote it, or a later one.`,
  });
}

function parse<T>(text: string | undefined): T | null {
  return text === undefined ? null : (JSON.parse(text) as T);
}

function noRun(directory: string, cause: unknown): AppError {
  return new AppError('INPUT_INVALID', `${directory} is not a readable run: ${reasonOf(cause)}`, {
    hint: `A run is a directory that holds ${RUN_DATABASE}, as replay --out makes it.`,
    cause,
  });
}
