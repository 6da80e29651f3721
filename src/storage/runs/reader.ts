import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, reasonOf } from '../../core/errors.ts';
import type { FinishReason } from '../../core/exchange.ts';
import {
  checkOfWord,
  type Run,
  type RunSecond,
  type RunTotals,
  type Send,
  type SendAnswer,
} from '../../core/run.ts';
import type { MonitorSample } from '../../documents/monitors.ts';
import { whatIs } from '../capture/directory.ts';
import { type Connection, openForReading, selected } from '../capture/sqlite.ts';
import { monitorSamplesIn, monitorSeriesIn, type StoredSeries } from './monitored.ts';
import {
  ANSWERED_WHOLE,
  OLDEST_RUN_FORMAT,
  RUN_DATABASE,
  RUN_FORMAT_VERSION,
  RUN_SUMMARY,
} from './schema.ts';

/** The answer's columns are all null if there was no answer. */
interface StoredSend
  extends Omit<
      Send,
      | ('refused' | 'cancelled' | 'streamed' | 'unstreamed' | 'answer')
      | ('warmup' | 'check' | 'tellsError' | 'recorded')
    >,
    Omit<SendAnswer, 'contentEvents'> {
  readonly contentEvents: number | null;
  readonly refused: number;
  readonly cancelled: number;
  readonly streamed: number;
  readonly warmup: number;
  readonly checkResult: string | null;
  readonly checkPointer: string | null;
  readonly tellsError: number | null;
  readonly recordedStatus: number | null;
  readonly recordedBytes: number | null;
  readonly recordedStreamed: number | null;
  readonly recordedNs: number | null;
  readonly recordedTellsError: number | null;
  readonly recordedTokens: number | null;
  readonly recordedPromptTokens: number | null;
  readonly recordedCachedTokens: number | null;
  readonly recordedBody: number | null;
  readonly recordedFinish: FinishReason | null;
}

const SEND =
  selected(`segment, exchange_id, route, model, client, request_bytes, intended_offset_ns, actual_offset_ns,
  connection_wait_ns, start_offset_ns, first_byte_offset_ns, last_byte_offset_ns, status, response_bytes, error,
  refused, cancelled, streamed, content_events, first_token_offset_ns, last_token_offset_ns, gap_max_ns, gaps,
  prompt_tokens, output_tokens, warmup, check_result, check_pointer, tells_error, recorded_status,
  recorded_bytes, recorded_streamed, recorded_ns, recorded_tells_error`);

/** Columns by the format that added them. */
const ADDED: Readonly<Record<number, readonly string[]>> = {
  9: ['body_crc', 'recorded_tokens', 'recorded_body'],
  10: ['write_ns', 'paused_ns', 'first_token_paused_ns', 'last_token_paused_ns', 'unpaused_gaps'],
  11: ['recorded_finish'],
  12: ['grpc_status'],
  13: ['cached_tokens', 'recorded_prompt_tokens', 'recorded_cached_tokens'],
};

/** A run of an older format lacks some columns: what they hold is unknown there. */
function selectOf(version: number): string {
  const added = Object.entries(ADDED).flatMap(([format, columns]) =>
    columns.map(selected).map((each) => (version < Number(format) ? each.replace(/^\w+/, 'NULL') : each)),
  );
  return `SELECT send_index AS "index", finish_reason AS finish, ${[SEND, ...added].join()} FROM send`;
}

/** Reads a run. A run that did not end properly is not sealed and has neither facts nor summary. */
export class RunReader {
  readonly sealed: boolean;
  readonly run: Run | null;
  readonly totals: RunTotals | null;
  /** The document of `summary.json`. */
  readonly summary: object | null;
  readonly #connection: Connection;
  readonly #select: string;

  /**
   * @throws AppError INPUT_INVALID when it is no run or a damaged one; SCHEMA_TOO_NEW or SCHEMA_TOO_OLD for
   * another format
   */
  constructor(directory: string) {
    let connection: Connection | null = null;
    try {
      connection = openForReading(join(directory, RUN_DATABASE));
      const rows = connection.prepare<[], [string, string]>('SELECT key, value FROM meta').raw().all();
      const meta = new Map(rows);
      this.#select = selectOf(versionOf(directory, meta.get('format_version')));
      this.sealed = existsSync(join(directory, RUN_SUMMARY));
      this.run = parse<Run>(meta.get('run'));
      this.totals = parse<RunTotals>(meta.get('totals'));
      this.summary = this.sealed ? summaryIn(directory) : null;
      this.#connection = connection;
    } catch (error) {
      connection?.close();
      if (error instanceof AppError) throw error;
      const other = existsSync(join(directory, RUN_DATABASE)) ? null : whatIs(directory);
      const why = other?.what ?? reasonOf(error);
      throw new AppError('INPUT_INVALID', `${directory} is not a readable run: ${why}`, {
        hint:
          other?.hint ??
          `A run is the directory that reprise replay --out wrote, with ${RUN_DATABASE} in it.`,
        cause: error,
      });
    }
  }

  /**
   * Sends at constant memory.
   * @param order that of the plan, or that in which they were due, which is another one if requests waited
   */
  *sends(order: 'plan' | 'due' = 'plan'): Generator<Send> {
    const by = order === 'plan' ? 'send_index' : 'intended_offset_ns, send_index';
    const rows = this.#connection.prepare<[], StoredSend>(`${this.#select} ORDER BY ${by}`);
    for (const row of rows.iterate()) yield sendOf(row);
  }

  /** One send; null if the plan has none with this index. */
  send(index: number): Send | null {
    const row = this.#connection
      .prepare<[number], StoredSend>(`${this.#select} WHERE send_index = ?`)
      .get(index);
    return row === undefined ? null : sendOf(row);
  }

  /**
   * The seconds in which anything happened, in order. They are read one by one, because a run of weeks has a million.
   */
  *seconds(): Generator<RunSecond> {
    yield* this.#connection
      .prepare<[], RunSecond>(`
        SELECT ${selected('second, offered, sent, completed, failed, cancelled, refused, in_flight, lag_max_ns')}
        FROM series ORDER BY second`)
      .iterate();
  }

  /** The last second in which anything happened; null in an empty run. */
  lastSecond(): number | null {
    return (
      this.#connection.prepare<[], number | null>('SELECT max(second) FROM second').pluck().get() ?? null
    );
  }

  /** The series of monitors, in the order in which they were first seen. */
  monitorSeries(): StoredSeries[] {
    return monitorSeriesIn(this.#connection);
  }

  /** The values of one series in order of time. */
  monitorSamples(series: number): MonitorSample[] {
    return monitorSamplesIn(this.#connection, series);
  }

  close(): void {
    this.#connection.close();
  }
}

function versionOf(directory: string, text: string | undefined): number {
  const version = Number(text);
  if (version >= OLDEST_RUN_FORMAT && version <= RUN_FORMAT_VERSION) return version;
  const message = `the run ${directory} has format ${text ?? 'unknown'}; this version of Reprise reads ${OLDEST_RUN_FORMAT} to ${RUN_FORMAT_VERSION}`;
  throw version < RUN_FORMAT_VERSION
    ? new AppError('SCHEMA_TOO_OLD', message, {
        hint: 'Replay again, or use the version of Reprise that wrote it.',
      })
    : new AppError('SCHEMA_TOO_NEW', message, {
        hint: 'Use the version of Reprise that wrote it, or a later one.',
      });
}

function factOf(column: number | null): boolean | null {
  return column === null ? null : column === 1;
}

function answerOf(stored: StoredSend): SendAnswer | null {
  const { contentEvents, firstTokenOffsetNs, lastTokenOffsetNs, gapMaxNs, gaps, unpausedGaps } = stored;
  const { firstTokenPausedNs, lastTokenPausedNs, promptTokens, cachedTokens, outputTokens, finish } = stored;
  if (contentEvents === null) return null;
  return {
    contentEvents,
    firstTokenOffsetNs,
    lastTokenOffsetNs,
    gapMaxNs,
    gaps: gaps === null ? null : new Uint8Array(gaps),
    ...(firstTokenPausedNs == null ? {} : { firstTokenPausedNs }),
    ...(lastTokenPausedNs == null ? {} : { lastTokenPausedNs }),
    ...(cachedTokens == null ? {} : { cachedTokens }),
    ...(unpausedGaps == null ? {} : { unpausedGaps: new Uint8Array(unpausedGaps) }),
    promptTokens,
    outputTokens,
    finish,
  };
}

/** Every column that a send has in another form is named, so that the rest are its members. */
function sendOf(stored: StoredSend): Send {
  const {
    contentEvents,
    firstTokenOffsetNs,
    lastTokenOffsetNs,
    gapMaxNs,
    gaps,
    firstTokenPausedNs,
    lastTokenPausedNs,
    unpausedGaps,
    promptTokens,
    cachedTokens,
    outputTokens,
    finish,
    checkResult,
    checkPointer,
    tellsError,
    recordedStatus: status,
    recordedBytes: bytes,
    recordedStreamed,
    recordedNs: tookNs,
    recordedTellsError,
    recordedTokens,
    recordedPromptTokens,
    recordedCachedTokens,
    recordedBody,
    recordedFinish,
    bodyCrc,
    grpcStatus,
    ...row
  } = stored;
  const check = checkResult === null ? null : checkOfWord(checkResult, checkPointer);
  return {
    ...row,
    ...(check === null ? {} : { check }),
    refused: row.refused === 1,
    cancelled: row.cancelled === 1,
    streamed: row.streamed === 1,
    unstreamed: row.streamed === ANSWERED_WHOLE,
    warmup: row.warmup === 1,
    answer: answerOf(stored),
    ...(tellsError === null ? {} : { tellsError: tellsError === 1 }),
    ...(bodyCrc == null ? {} : { bodyCrc }),
    ...(grpcStatus == null ? {} : { grpcStatus }),
    ...(status === null
      ? {}
      : {
          recorded: {
            status,
            bytes,
            streamed: factOf(recordedStreamed),
            tookNs,
            tellsError: factOf(recordedTellsError),
            promptTokens: recordedPromptTokens,
            cachedTokens: recordedCachedTokens,
            outputTokens: recordedTokens,
            finish: recordedFinish ?? null,
            body: recordedBody,
          },
        }),
  };
}

function parse<T>(text: string | undefined): T | null {
  return text === undefined ? null : (JSON.parse(text) as T);
}

/**
 * A summary without a document means damage, not a run that has not ended.
 * @throws AppError INPUT_INVALID
 */
function summaryIn(directory: string): object {
  let reason = 'it contains no JSON object';
  try {
    const summary = parse<unknown>(readFileSync(join(directory, RUN_SUMMARY), 'utf8').replace(/^\uFEFF/, ''));
    if (typeof summary === 'object' && summary !== null) return summary;
  } catch (thrown) {
    reason = reasonOf(thrown);
  }
  throw new AppError('INPUT_INVALID', `${RUN_SUMMARY} of ${directory} is damaged: ${reason}`, {
    hint: 'Restore it from a copy, or replay again. If you remove it, report uses the rows alone.',
  });
}
