import { closeSync, openSync, statSync } from 'node:fs';
import { AppError, reasonOf } from '../core/errors.ts';
import type { Figure, HistoryRun } from '../documents/history.ts';
import type { ExceptionDocument, TestedDocument } from '../documents/parts.ts';
import { whatIs } from './capture/directory.ts';
import {
  type Connection,
  insertInto,
  openForReading,
  openForWriting,
  selected,
  sqliteCode,
} from './capture/sqlite.ts';

const FORMAT_VERSION = 1;
const PRIVATE_FILE = 0o600;

const SCHEMA = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE run (
  run TEXT PRIMARY KEY,
  test TEXT NOT NULL,
  command TEXT NOT NULL,
  started_at TEXT NOT NULL,
  duration_s REAL NOT NULL,
  verdict TEXT,
  result TEXT NOT NULL,
  capture TEXT NOT NULL,
  target TEXT NOT NULL,
  version TEXT NOT NULL,
  directory TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX run_of_test ON run (test, started_at);

CREATE TABLE figure (
  run TEXT NOT NULL REFERENCES run (run) ON DELETE CASCADE,
  name TEXT NOT NULL,
  unit TEXT NOT NULL,
  value REAL NOT NULL,
  PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;
`;

/** Runs to keep for each test: a number of the newest ones, or those that started within a time. */
type HistoryRetention =
  | { readonly kind: 'count'; readonly runs: number }
  | { readonly kind: 'age'; readonly ms: number };

/** Added to histories of earlier versions when they are written. */
const ADDED_SCHEMA = `
CREATE TABLE IF NOT EXISTS label (
  run TEXT NOT NULL REFERENCES run (run) ON DELETE CASCADE,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS figure_limit (
  run TEXT NOT NULL REFERENCES run (run) ON DELETE CASCADE,
  name TEXT NOT NULL,
  value REAL NOT NULL,
  PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS demand (
  test TEXT NOT NULL,
  day TEXT NOT NULL,
  per_second REAL NOT NULL,
  PRIMARY KEY (test, day)
) STRICT, WITHOUT ROWID;
`;
/** Days of demand that are kept for each test. */
const MOST_DAYS = 1_000;
/** Added to histories of earlier versions when a run is accepted. A run may be removed before its exception ends. */
const EXCEPTION_SCHEMA = `
CREATE TABLE IF NOT EXISTS exception (
  run TEXT PRIMARY KEY,
  test TEXT NOT NULL,
  reason TEXT NOT NULL,
  accepted_at TEXT NOT NULL,
  until TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`;

/** Their names among the labels. Names of labels have no capital letters. */
const CAPTURE_DIGEST = 'captureDigest';

const SERVER_DETAILS = 'serverDetails';
/** Exceptions that are shown at one time. */
const MOST_EXCEPTIONS = 100;

type RunRow = Omit<HistoryRun, 'figures' | keyof TestedDocument>;
const RUN_COLUMNS = selected(
  'run, test, command, started_at, duration_s, verdict, result, capture, target, version, directory',
);

/**
 * The figures of many runs in one SQLite file (0600), which outlives their directories. Several processes may add to it
 * at the same time. Runs are identified by their ids: adding one again replaces it.
 */
export class History {
  readonly #path: string;
  readonly #connection: Connection;

  /**
   * @param access `write` creates a missing file
   * @throws AppError INPUT_INVALID for a file that is no history, SCHEMA_TOO_NEW, OUTPUT_UNWRITABLE
   */
  constructor(path: string, access: 'read' | 'write') {
    this.#path = path;
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw notOne(path, 'a directory');
    this.#connection = access === 'read' ? openHistory(path) : openOrCreate(path);
  }

  /** Adds a run, and removes runs of its test that are not kept. @returns the number of removed runs */
  add(
    { figures, labels = {}, captureDigest, serverDetails = {}, ...run }: HistoryRun,
    kept: HistoryRetention,
  ): number {
    return this.#asked(() =>
      this.#connection
        .transaction(() => {
          this.#connection.prepare('DELETE FROM run WHERE run = ?').run(run.run);
          insertInto(this.#connection, 'run').run(
            ...[run.run, run.test, run.command, run.startedAt, run.durationS, run.verdict, run.result],
            ...[run.capture, run.target, run.version, run.directory],
          );
          const insert = insertInto(this.#connection, 'figure');
          const limited = insertInto(this.#connection, 'figure_limit');
          for (const { name, unit, value, limit } of figures) {
            insert.run(run.run, name, unit, value);
            if (limit !== undefined) limited.run(run.run, name, limit);
          }
          const label = insertInto(this.#connection, 'label');
          const facts = {
            ...labels,
            ...(captureDigest !== undefined && { [CAPTURE_DIGEST]: captureDigest }),
            ...(Object.keys(serverDetails).length > 0 && { [SERVER_DETAILS]: JSON.stringify(serverDetails) }),
          };
          for (const [name, value] of Object.entries(facts)) label.run(run.run, name, value);
          return this.#retain(run, kept);
        })
        .immediate(),
    );
  }

  /** The runs of a test, or of all tests, oldest first; at most the newest `most` runs of each test. */
  runs(test: string | null, most: number): HistoryRun[] {
    return this.#asked(() => {
      const rows = this.#connection
        .prepare<[string | null, string | null, number], RunRow>(
          `SELECT ${RUN_COLUMNS} FROM (
             SELECT *, row_number() OVER (PARTITION BY test ORDER BY started_at DESC, run DESC) AS newest
             FROM run WHERE ? IS NULL OR test = ?
           ) WHERE newest <= ? ORDER BY test, started_at, run`,
        )
        .all(test, test, most);
      const figures = this.#figures();
      const labels = this.#labels();
      return rows.map((row) => ({ ...row, ...labels(row.run), figures: figures(row.run) }));
    });
  }

  /** Accepts a run, in place of an earlier exception of it. @returns null if the history does not have the run */
  accept(exception: Omit<ExceptionDocument, 'test'>): ExceptionDocument | null {
    return this.#asked(() => {
      const test = this.#connection
        .prepare<[string], string>('SELECT test FROM run WHERE run = ?')
        .pluck()
        .get(exception.run);
      if (test === undefined) return null;
      const { run, reason, acceptedAt, until } = exception;
      this.#connection.exec(EXCEPTION_SCHEMA);
      this.#connection
        .prepare('INSERT OR REPLACE INTO exception VALUES (?, ?, ?, ?, ?)')
        .run(run, test, reason, acceptedAt, until);
      return { ...exception, test };
    });
  }

  /** The exceptions of a test, or of all, that have not ended at an instant; the newest first. */
  exceptions(test: string | null, at: string): ExceptionDocument[] {
    return this.#asked(() => {
      const tables = this.#connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'exception'").all();
      if (tables.length === 0) return [];
      return this.#connection
        .prepare<[string | null, string | null, string], ExceptionDocument>(
          `SELECT ${selected('run, test, reason, accepted_at, until')} FROM exception
           WHERE (? IS NULL OR test = ?) AND until > ? ORDER BY accepted_at DESC, run LIMIT ${MOST_EXCEPTIONS}`,
        )
        .all(test, test, at);
    });
  }

  /** The newest run of a test with the verdict PASS that started before this instant; null if there is none. */
  latestPass(test: string, before: string): RunRow | null {
    return this.#asked(
      () =>
        this.#connection
          .prepare<[string, string], RunRow>(
            `SELECT ${RUN_COLUMNS} FROM run WHERE test = ? AND verdict = 'PASS' AND started_at < ?
             ORDER BY started_at DESC, run DESC LIMIT 1`,
          )
          .get(test, before) ?? null,
    );
  }

  /** Adds the hardest window of days, requests per second. Days that are known are replaced; the newest are kept. */
  addDemand(test: string, days: readonly { readonly day: string; readonly perSecond: number }[]): void {
    this.#asked(() =>
      this.#connection
        .transaction(() => {
          const insert = this.#connection.prepare('INSERT OR REPLACE INTO demand VALUES (?, ?, ?)');
          for (const { day, perSecond } of days) insert.run(test, day, perSecond);
          this.#connection
            .prepare(
              `DELETE FROM demand WHERE test = ? AND day NOT IN (
                 SELECT day FROM demand WHERE test = ? ORDER BY day DESC LIMIT ?)`,
            )
            .run(test, test, MOST_DAYS);
        })
        .immediate(),
    );
  }

  /** The days of a test, ascending. */
  demand(test: string): { readonly day: string; readonly perSecond: number }[] {
    return this.#asked(() => {
      if (!this.#has('demand')) return [];
      return this.#connection
        .prepare<[string], { day: string; perSecond: number }>(
          'SELECT day, per_second AS perSecond FROM demand WHERE test = ? ORDER BY day',
        )
        .all(test);
    });
  }

  #has(table: string): boolean {
    return this.#connection.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(table) !== undefined;
  }

  close(): void {
    this.#connection.close();
  }

  /** A history to which only earlier versions added has no limits. */
  #figures(): (run: string) => HistoryRun['figures'] {
    const ofRun = this.#connection.prepare<
      [string],
      Omit<Figure, 'limit'> & { readonly limit: number | null }
    >(
      this.#has('figure_limit')
        ? `SELECT name, unit, figure.value, figure_limit.value AS "limit" FROM figure
           LEFT JOIN figure_limit USING (run, name) WHERE run = ? ORDER BY name`
        : 'SELECT name, unit, value, NULL AS "limit" FROM figure WHERE run = ? ORDER BY name',
    );
    return (run) =>
      ofRun.all(run).map(({ limit, ...figure }) => (limit === null ? figure : { ...figure, limit }));
  }

  /** A history to which only earlier versions added has no labels. */
  #labels(): (run: string) => TestedDocument {
    if (!this.#has('label')) return () => ({});
    const ofRun = this.#connection.prepare<[string], { name: string; value: string }>(
      'SELECT name, value FROM label WHERE run = ? ORDER BY name',
    );
    return (run) => {
      const facts = Object.fromEntries(ofRun.all(run).map(({ name, value }) => [name, value]));
      const { [CAPTURE_DIGEST]: captureDigest, [SERVER_DETAILS]: details, ...labels } = facts;
      if (captureDigest === undefined) return {};
      return { labels, captureDigest, ...(details !== undefined && { serverDetails: JSON.parse(details) }) };
    };
  }

  #retain({ test, run, startedAt }: RunRow, kept: HistoryRetention): number {
    if (kept.kind === 'age') {
      const oldest = new Date(Date.parse(startedAt) - kept.ms).toISOString();
      return this.#connection
        .prepare('DELETE FROM run WHERE test = ? AND run <> ? AND started_at < ?')
        .run(test, run, oldest).changes;
    }
    return this.#connection
      .prepare(
        `DELETE FROM run WHERE test = ? AND run <> ? AND run NOT IN (
           SELECT run FROM run WHERE test = ? ORDER BY started_at DESC, run DESC LIMIT ?)`,
      )
      .run(test, run, test, kept.runs).changes;
  }

  #asked<T>(ask: () => T): T {
    try {
      return ask();
    } catch (error) {
      throw historyError(this.#path, error);
    }
  }
}

function openOrCreate(path: string): Connection {
  try {
    // SQLite would make it readable for everybody. An existing file keeps its mode.
    closeSync(openSync(path, 'a', PRIVATE_FILE));
    const connection = openForWriting(path, 'commit');
    connection.pragma('foreign_keys = ON');
    connection.transaction(() => create(connection)).immediate();
    assertFormat(path, connection);
    connection.exec(ADDED_SCHEMA);
    return connection;
  } catch (error) {
    throw historyError(path, error);
  }
}

function create(connection: Connection): void {
  if (connection.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() === 0) {
    connection.exec(SCHEMA);
    insertInto(connection, 'meta').run('history_format', FORMAT_VERSION);
  }
}

function openHistory(path: string): Connection {
  try {
    const connection = openForReading(path);
    assertFormat(path, connection);
    return connection;
  } catch (error) {
    throw historyError(path, error);
  }
}

function assertFormat(path: string, connection: Connection): void {
  try {
    const version = connection.prepare("SELECT value FROM meta WHERE key = 'history_format'").pluck().get();
    if (version === FORMAT_VERSION) return;
    if (typeof version !== 'number') throw notOne(path, 'another file of SQLite');
    throw new AppError('SCHEMA_TOO_NEW', `the history ${path} has format ${version}`, {
      hint: `This version reads format ${FORMAT_VERSION}; use the one that wrote it, or a later one.`,
    });
  } catch (error) {
    connection.close();
    throw sqliteCode(error) === 'SQLITE_ERROR' ? notOne(path, 'another file of SQLite') : error;
  }
}

function historyError(path: string, error: unknown): unknown {
  const code = sqliteCode(error);
  if (code === null && !(error instanceof Error && 'syscall' in error)) return error;
  if (code === 'SQLITE_NOTADB' || code === 'SQLITE_CORRUPT') return notOne(path, reasonOf(error));
  const isMissing = code === 'SQLITE_CANTOPEN';
  return new AppError(
    isMissing ? 'INPUT_INVALID' : 'OUTPUT_UNWRITABLE',
    `the history ${path} cannot be ${isMissing ? 'opened' : 'written'}: ${reasonOf(error)}`,
    {
      hint:
        (isMissing ? whatIs(path)?.hint : null) ??
        'Give the file that replay --history wrote, in a directory that this user may write to.',
      cause: error,
    },
  );
}

function notOne(path: string, why: string): AppError {
  return new AppError('INPUT_INVALID', `${path} is no history: ${why}`, {
    hint: whatIs(path)?.hint ?? 'Give the file that replay --history wrote, or a name that is free.',
  });
}
