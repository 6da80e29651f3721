import type { Amount, LifeAccount, Progress } from '../../core/accounting.ts';
import { AppError } from '../../core/errors.ts';
import { OUTCOMES } from '../../core/exchange.ts';
import type { Labels } from '../../documents/parts.ts';
import type { ServerDetails } from '../../documents/server-details.ts';
import { parseSegmentEncryption, type SegmentEncryption } from './encryption.ts';
import { type Connection, closing, damaged, openForSealing } from './sqlite.ts';

/** Version of the segment's tables; see docs/adr/0009. */
export const FORMAT_VERSION = 8;
/** Older versions that can be read: the columns of `exchange` as of this version, null where they keep nothing. */
const WITHOUT_GRPC = 'NULL AS grpc_status, NULL AS request_messages, NULL AS response_messages';
const WITHOUT_CACHED = 'NULL AS cached_tokens';
const WITHOUT_LINKS = `NULL AS number, NULL AS links, ${WITHOUT_CACHED}`;
const OLDER: Readonly<Record<number, string>> = {
  4: `*, NULL AS finish_reason, ${WITHOUT_GRPC}, ${WITHOUT_LINKS}`,
  5: `*, ${WITHOUT_GRPC}, ${WITHOUT_LINKS}`,
  6: `*, ${WITHOUT_LINKS}`,
  7: `*, ${WITHOUT_CACHED}`,
};

/** 'RPRS', in the header of every segment, so that `file` and SQLite's shell can identify it. */
const APPLICATION_ID = 0x52505253;

/**
 * Tables of a segment. All are STRICT, because the binding passes every number to SQLite as REAL. Only a
 * declared column type converts it back to an integer.
 */
const TABLES = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE outcome (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;

CREATE TABLE body (
  id INTEGER PRIMARY KEY,
  hash BLOB,
  bytes INTEGER NOT NULL,
  kept_bytes INTEGER,
  slot INTEGER
) STRICT;

CREATE TABLE exchange (
  id INTEGER PRIMARY KEY,
  arrival_us INTEGER NOT NULL,
  outcome INTEGER NOT NULL,
  protocol INTEGER,
  method INTEGER,
  route INTEGER,
  status INTEGER,
  connection INTEGER,
  client BLOB,
  session BLOB,
  model INTEGER,
  streamed INTEGER,
  request_end_offset_us INTEGER,
  first_byte_offset_us INTEGER,
  last_byte_offset_us INTEGER,
  client_left_offset_us INTEGER,
  first_token_offset_us INTEGER,
  prompt_tokens INTEGER,
  output_tokens INTEGER,
  batch INTEGER,
  answer_error INTEGER,
  trace_id BLOB,
  request_bytes INTEGER,
  response_bytes INTEGER,
  request_truncated INTEGER NOT NULL,
  response_truncated INTEGER NOT NULL,
  heads_slot INTEGER,
  request_body INTEGER,
  response_body INTEGER,
  finish_reason INTEGER,
  grpc_status INTEGER,
  request_messages INTEGER,
  response_messages INTEGER,
  number INTEGER,
  links INTEGER,
  cached_tokens INTEGER
) STRICT;
CREATE INDEX exchange_by_arrival ON exchange (arrival_us);

CREATE TABLE block (
  first_slot INTEGER PRIMARY KEY,
  slots INTEGER NOT NULL,
  raw_bytes INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  crc32 INTEGER NOT NULL,
  payload BLOB NOT NULL
) STRICT;

CREATE TABLE second (
  second INTEGER PRIMARY KEY,
  exchanges INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  request_bytes INTEGER NOT NULL,
  response_bytes INTEGER NOT NULL,
  latency_count INTEGER NOT NULL,
  latency_sum_us INTEGER NOT NULL,
  latency_max_us INTEGER NOT NULL
) STRICT;

CREATE TABLE hour (
  hour INTEGER PRIMARY KEY,
  exchanges INTEGER NOT NULL,
  request_bytes INTEGER NOT NULL,
  response_bytes INTEGER NOT NULL,
  completed INTEGER NOT NULL,
  client_aborted INTEGER NOT NULL,
  upstream_failed INTEGER NOT NULL,
  timed_out INTEGER NOT NULL,
  requests_truncated INTEGER NOT NULL,
  responses_truncated INTEGER NOT NULL,
  committed_us INTEGER NOT NULL
) STRICT;

CREATE TABLE counter (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  at_us INTEGER NOT NULL,
  exchanges INTEGER NOT NULL,
  turns INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (kind, name, at_us)
) STRICT, WITHOUT ROWID;

CREATE TABLE protocol_use (
  protocol TEXT PRIMARY KEY, connections INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE anchor (
  id INTEGER PRIMARY KEY, monotonic_ns INTEGER NOT NULL, epoch_us INTEGER NOT NULL
) STRICT;

CREATE TABLE expiry (
  file TEXT PRIMARY KEY,
  first_arrival_us INTEGER,
  last_arrival_us INTEGER,
  exchanges INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  expired_us INTEGER NOT NULL,
  why TEXT NOT NULL,
  earlier_segments INTEGER NOT NULL,
  earlier_exchanges INTEGER NOT NULL,
  earlier_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;

/**
 * Views for the sqlite3 shell: names instead of ids, and times as text beside µs. `counter` holds cumulative
 * counters of the recording. The first row of each name is its value before the segment. `loss` and
 * `omission` are the increases.
 */
const VIEWS = `
CREATE VIEW growth AS SELECT
  kind,
  name,
  lag(at_us) OVER named AS from_us,
  at_us AS to_us,
  exchanges - lag(exchanges) OVER named AS exchanges,
  turns - lag(turns) OVER named AS turns,
  bytes - lag(bytes) OVER named AS bytes
FROM counter WINDOW named AS (PARTITION BY kind, name ORDER BY at_us);

CREATE VIEW loss AS SELECT name AS reason, from_us, to_us, exchanges, bytes
FROM growth WHERE kind = 'lost' AND from_us IS NOT NULL;

CREATE VIEW omission AS SELECT name AS cause, sum(exchanges) AS exchanges, sum(bytes) AS bytes
FROM growth WHERE kind = 'omitted' AND from_us IS NOT NULL GROUP BY name;

CREATE VIEW exchanges AS SELECT
  e.id,
  strftime('%Y-%m-%dT%H:%M:%S', e.arrival_us / 1000000, 'unixepoch')
    || printf('.%06dZ', e.arrival_us % 1000000) AS arrival,
  e.arrival_us,
  method.text AS method,
  route.text AS route,
  model.text AS model,
  protocol.text AS protocol,
  e.status,
  e.grpc_status,
  outcome.text AS outcome,
  e.last_byte_offset_us / 1000.0 AS latency_ms,
  e.first_byte_offset_us / 1000.0 AS first_byte_ms,
  e.first_token_offset_us / 1000.0 AS first_token_ms,
  e.client_left_offset_us / 1000.0 AS client_left_ms,
  e.streamed,
  e.request_bytes,
  e.response_bytes,
  e.request_truncated,
  e.response_truncated,
  e.prompt_tokens,
  e.cached_tokens,
  e.output_tokens,
  e.batch,
  e.request_messages,
  e.response_messages,
  finish.text AS finish_reason,
  e.answer_error,
  nullif(lower(hex(e.trace_id)), '') AS trace_id,
  e.connection,
  lower(hex(e.client)) AS client,
  lower(hex(e.session)) AS session,
  e.links,
  lower(hex(request.hash)) AS request_hash,
  lower(hex(response.hash)) AS response_hash
FROM exchange e
JOIN outcome ON outcome.id = e.outcome
LEFT JOIN name method ON method.id = e.method
LEFT JOIN name route ON route.id = e.route
LEFT JOIN name model ON model.id = e.model
LEFT JOIN name protocol ON protocol.id = e.protocol
LEFT JOIN name finish ON finish.id = e.finish_reason
LEFT JOIN body request ON request.id = e.request_body
LEFT JOIN body response ON response.id = e.response_body;
`;

/** The number of an outcome that is not known, after those of `OUTCOMES`. Hours have no column of their own for it. */
export const UNKNOWN_OUTCOME = OUTCOMES.length;

/** Creates the tables of a new segment in the caller's transaction. */
export function createSchema(connection: Connection): void {
  connection.exec(TABLES);
  connection.exec(VIEWS);
  const insert = connection.prepare('INSERT INTO outcome (id, text) VALUES (?, ?)');
  for (const [id, text] of [...OUTCOMES, 'unknown'].entries()) insert.run(id, text);
  connection.pragma(`application_id = ${APPLICATION_ID}`);
  connection.pragma(`user_version = ${FORMAT_VERSION}`);
}

/** Whether a file has no tables: its writer just created it, or died before it created them. */
export function isUnborn(connection: Connection): boolean {
  return connection.prepare<[], number>('SELECT count(*) FROM sqlite_schema').pluck().get() === 0;
}

/**
 * Refuses files that this version cannot read.
 * @throws AppError SCHEMA_TOO_NEW, SCHEMA_TOO_OLD, or CAPTURE_DAMAGED for a database that is no segment
 */
export function assertReadable(connection: Connection, file: string): void {
  const applicationId = connection.pragma('application_id', { simple: true });
  const version = Number(connection.pragma('user_version', { simple: true }));
  if (applicationId !== APPLICATION_ID || version < 1) {
    throw damaged(file, 'it is a SQLite database that Reprise did not write');
  }
  if (version === FORMAT_VERSION || version in OLDER) return;
  const message = `segment ${file} has format ${version}; this version of Reprise reads ${FORMAT_VERSION}`;
  throw version > FORMAT_VERSION
    ? new AppError('SCHEMA_TOO_NEW', message, {
        hint: 'Use the version of Reprise that recorded it, or a newer one.',
      })
    : new AppError('SCHEMA_TOO_OLD', message, {
        hint: 'Use the version of Reprise that recorded it, or record again.',
      });
}

/** What to select of the exchanges of an attached segment, to have all columns of this version. */
export function columnsOfVersion(connection: Connection, database: 'main' | 'old'): string {
  return OLDER[Number(connection.pragma(`${database}.user_version`, { simple: true }))] ?? '*';
}

/** A segment's metadata, one key a row. Texts and numbers are plain; the rest is JSON. */
export interface SegmentMeta {
  readonly recorder: RecorderIdentity;
  readonly origin: CaptureOrigin;
  /** What is stored and masked: bodies, caps, redaction … */
  readonly policy: Readonly<Record<string, unknown>>;
  readonly hashKeyFingerprint: string;
  /** Recorders in the fleet; null if not configured. */
  readonly fleetSize: number | null;
  readonly openedUs: number;
  /** When its writer closed it; null while it grows, and after a crash. */
  readonly closedUs: number | null;
  /** When a later process closed it after a crash; null if its writer closed it. */
  readonly recoveredUs: number | null;
  /** When the recorder's life ended; null in every segment except its last. */
  readonly endedUs: number | null;
  /** Null if its blocks are not encrypted. */
  readonly encryption: SegmentEncryption | null;
  /** What was removed on request; null if nothing was. */
  readonly forgotten: Forgotten | null;
  /** The account of its recording at its last commit; null before the first commit with an account. */
  readonly account: LifeAccount | null;
  /** What its recorder had committed at its last commit; null like `account`. */
  readonly progress: Progress | null;
  /** In the first segment of a recording: the accounts that earlier ones left beside the segments. */
  readonly earlierAccounts: readonly LifeAccount[];
  /** What the recorded servers said of themselves while it was written; null if nothing is known. */
  readonly serverDetails: ServerDetails | null;
}

/** What `forget` removed from a segment: the kind of condition, never the identity. */
export interface Forgotten extends Amount {
  /** Time of the last removal, epoch microseconds. */
  readonly atUs: number;
  readonly by: readonly ('session' | 'client' | 'time')[];
}

/** Arrivals of a segment, epoch microseconds. */
export interface Span {
  readonly firstUs: number;
  readonly lastUs: number;
}

/** The least and the greatest arrival; null for a segment without exchanges. */
export function spanOf(connection: Connection): Span | null {
  // One query for each: SQLite reads a single value from an end of the index, but scans for both together.
  const { firstUs, lastUs } = connection
    .prepare<[], { firstUs: number | null; lastUs: number | null }>(
      `SELECT (SELECT min(arrival_us) FROM exchange) AS firstUs,
        (SELECT max(arrival_us) FROM exchange) AS lastUs`,
    )
    .get() ?? { firstUs: null, lastUs: null };
  return firstUs === null || lastUs === null ? null : { firstUs, lastUs };
}

/** What is known of a segment when it is opened; the policy is stored unchanged. */
export type NewSegmentMeta = Pick<
  SegmentMeta,
  'recorder' | 'origin' | 'policy' | 'hashKeyFingerprint' | 'fleetSize' | 'openedUs' | 'encryption'
> &
  Partial<Pick<SegmentMeta, 'earlierAccounts' | 'serverDetails'>>;

/** Writes the initial keys of a segment, inside a transaction. */
export function writeMeta(connection: Connection, meta: NewSegmentMeta): void {
  const { earlierAccounts = [], serverDetails = null } = meta;
  setMeta(connection, {
    format_version: String(FORMAT_VERSION),
    recorder: meta.recorder.id,
    host: meta.recorder.host,
    recorder_started_us: String(meta.recorder.startedUs),
    source: meta.origin.kind,
    origin: JSON.stringify(meta.origin),
    policy: JSON.stringify(meta.policy),
    hash_key_fingerprint: meta.hashKeyFingerprint,
    ...(meta.fleetSize === null ? {} : { fleet_size: String(meta.fleetSize) }),
    opened_us: String(meta.openedUs),
    ...(earlierAccounts.length === 0 ? {} : { earlier_accounts: JSON.stringify(earlierAccounts) }),
    ...(meta.encryption === null ? {} : { encryption: JSON.stringify(meta.encryption) }),
    ...(serverDetails === null ? {} : { server_details: JSON.stringify(serverDetails) }),
  });
}

/** Inserts or updates keys. */
export function setMeta(connection: Connection, values: Readonly<Record<string, string>>): void {
  const statement = connection.prepare('INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)');
  for (const [key, value] of Object.entries(values)) statement.run(key, value);
}

/** @throws AppError CAPTURE_DAMAGED naming `file` when a required key is missing */
export function readMeta(connection: Connection, file: string): SegmentMeta {
  const values = new Map(connection.prepare<[], [string, string]>('SELECT key, value FROM meta').raw().all());
  const text = (key: string): string => {
    const value = values.get(key);
    if (value === undefined) throw damaged(file, `its meta has no ${key}`);
    return value;
  };
  /** A JSON value, which may be a number; null if the key is optional and missing. */
  const json = (key: string) => JSON.parse(values.get(key) ?? 'null');
  const encryption = values.get('encryption');
  try {
    return {
      recorder: {
        id: text('recorder'),
        host: text('host'),
        startedUs: Number(text('recorder_started_us')),
      },
      origin: JSON.parse(text('origin')),
      policy: JSON.parse(text('policy')),
      hashKeyFingerprint: text('hash_key_fingerprint'),
      fleetSize: json('fleet_size'),
      openedUs: Number(text('opened_us')),
      closedUs: json('closed_us'),
      recoveredUs: json('recovered_us'),
      endedUs: json('recorder_ended_us'),
      encryption: encryption === undefined ? null : parseSegmentEncryption(encryption, file),
      forgotten: json('forgotten'),
      account: json('account'),
      progress: json('progress'),
      earlierAccounts: json('earlier_accounts') ?? [],
      serverDetails: json('server_details'),
    };
  } catch (error) {
    if (error instanceof SyntaxError) throw damaged(file, 'its meta is not JSON', error);
    throw error;
  }
}

/** Where a recorder looked for the session key; empty for captures made before session keys existed. */
export function sessionKeysOf({ policy }: SegmentMeta): string[] {
  const { session } = policy;
  if (!Array.isArray(session)) return [];
  return session.filter((key): key is string => typeof key === 'string' && key !== 'none');
}

/** One life of one recorder process. */
interface RecorderIdentity {
  /** Eight hex digits, part of every segment's file name. */
  readonly id: string;
  readonly host: string;
  readonly startedUs: number;
}

/** The source of a capture's exchanges. */
export type CaptureOrigin =
  | {
      readonly kind: 'recorded';
      readonly target: string;
      /** All targets, if the recorder had several. */
      readonly targets?: readonly string[];
      /** Of the build that served; absent if none were given. */
      readonly labels?: Labels;
    }
  | {
      readonly kind: 'imported';
      /** Base name of the file. */
      readonly file: string;
      /** Whether exchanges have requests: the file's own, or others paired with its arrivals. */
      readonly paired: boolean;
      /**
       * Further facts: format, payload source, seed, what the format never contains (`missing`), what single exchanges
       * lacked.
       */
      readonly details: Readonly<Record<string, unknown>> & { readonly missing?: readonly string[] };
    };

/** Updates the origin of a finished, unsealed segment: an import knows only at its end what was missing. */
export function noteOrigin(path: string, origin: CaptureOrigin): void {
  closing(openForSealing(path), (connection) => setMeta(connection, { origin: JSON.stringify(origin) }));
}
