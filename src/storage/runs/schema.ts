import { MONITOR_SCHEMA } from './monitored.ts';

/** Version of a run's tables as they are written. */
export const RUN_FORMAT_VERSION = 13;
/** The oldest version that is read. */
export const OLDEST_RUN_FORMAT = 8;
/** Value of column `streamed`, besides 0 and 1: a stream was expected but a whole answer came. */
export const ANSWERED_WHOLE = 2;
export const RUN_DATABASE = 'run.sqlite';
export const RUN_SUMMARY = 'summary.json';
/** Subdirectory of a run for its calibration, which is itself a run. */
export const CALIBRATION_DIRECTORY = 'calibration';

/**
 * Repeated texts (segment, route, model, client) are stored once in `label`, which halves the file. The view `send`
 * joins them, so the sqlite3 shell shows whole rows. Offsets are nanoseconds after the start of the run. `warmup` marks
 * sends before the judged part. `second` counts events within each second of the run. The view `series` adds the
 * requests in flight at its end. `gaps` are those between the tokens of a stream, in the format of core's GapCounts.
 * The view's times in milliseconds are those of one send. `check_result` compares the answer with the recorded one
 * (`same`, `mismatch:values`, `unchecked:backlog`; null if not compared). `check_pointer` is where they first differ.
 * `tells_error` marks a 2xx whose body reports an error. The columns `recorded_…` describe the recorded answer, null if
 * it was not complete. `body_crc` is the CRC-32 of a 2xx body, `recorded_body` the number of the recorded one within its
 * segment: equal bodies have equal numbers. `write_ns` is the time of the first write. `paused_ns` is how long the answer
 * may have waited for a sender that was stopped or had no processor, `first_token_paused_ns` and `last_token_paused_ns` the
 * same for tokens. `unpaused_gaps` has the gaps less such pauses, null if there were none. `grpc_status` is the code of a
 * gRPC call; `status` is then its HTTP status.
 * `cached_tokens` are those of `prompt_tokens` that the server reports from its cache.
 */
export const RUN_SCHEMA = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE label (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE send_row (
  send_index INTEGER PRIMARY KEY,
  segment INTEGER NOT NULL REFERENCES label (id),
  exchange_id INTEGER NOT NULL,
  route INTEGER REFERENCES label (id),
  model INTEGER REFERENCES label (id),
  client INTEGER REFERENCES label (id),
  request_bytes INTEGER NOT NULL,
  intended_offset_ns INTEGER NOT NULL,
  actual_offset_ns INTEGER,
  connection_wait_ns INTEGER,
  start_offset_ns INTEGER,
  first_byte_offset_ns INTEGER,
  last_byte_offset_ns INTEGER,
  status INTEGER,
  response_bytes INTEGER NOT NULL,
  error TEXT,
  refused INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  streamed INTEGER NOT NULL,
  content_events INTEGER,
  first_token_offset_ns INTEGER,
  last_token_offset_ns INTEGER,
  gap_max_ns INTEGER,
  gaps BLOB,
  prompt_tokens INTEGER,
  output_tokens INTEGER,
  finish_reason TEXT,
  warmup INTEGER NOT NULL,
  check_result TEXT,
  check_pointer TEXT,
  tells_error INTEGER,
  recorded_status INTEGER,
  recorded_bytes INTEGER,
  recorded_streamed INTEGER,
  recorded_ns INTEGER,
  recorded_tells_error INTEGER,
  body_crc INTEGER,
  recorded_tokens INTEGER,
  recorded_body INTEGER,
  write_ns INTEGER,
  paused_ns INTEGER,
  first_token_paused_ns INTEGER,
  last_token_paused_ns INTEGER,
  unpaused_gaps BLOB,
  recorded_finish TEXT,
  grpc_status INTEGER,
  cached_tokens INTEGER,
  recorded_prompt_tokens INTEGER,
  recorded_cached_tokens INTEGER
) STRICT;

CREATE VIEW send AS
SELECT
  send_index, segment.text AS segment, exchange_id, route.text AS route, model.text AS model,
  client.text AS client, request_bytes,
  intended_offset_ns, actual_offset_ns, connection_wait_ns, start_offset_ns, first_byte_offset_ns,
  last_byte_offset_ns, status, response_bytes, error, refused, cancelled, streamed,
  content_events, first_token_offset_ns, last_token_offset_ns, gap_max_ns, gaps,
  prompt_tokens, output_tokens, finish_reason, warmup, check_result, check_pointer,
  tells_error, recorded_status, recorded_bytes, recorded_streamed, recorded_ns, recorded_tells_error,
  body_crc, recorded_tokens, recorded_body,
  write_ns, paused_ns, first_token_paused_ns, last_token_paused_ns, unpaused_gaps,
  recorded_finish, grpc_status, cached_tokens, recorded_prompt_tokens, recorded_cached_tokens,
  (first_token_offset_ns - intended_offset_ns) / 1e6 AS ttft_ms,
  (last_token_offset_ns - first_token_offset_ns) / 1e6 / nullif(content_events - 1, 0) AS itl_mean_ms,
  (last_token_offset_ns - first_token_offset_ns) / 1e6 / nullif(output_tokens - 1, 0) AS tpot_ms
FROM send_row
JOIN label AS segment ON segment.id = send_row.segment
LEFT JOIN label AS route ON route.id = send_row.route
LEFT JOIN label AS model ON model.id = send_row.model
LEFT JOIN label AS client ON client.id = send_row.client;

CREATE TABLE second (
  second INTEGER PRIMARY KEY,
  offered INTEGER NOT NULL,
  sent INTEGER NOT NULL,
  completed INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  lag_max_ns INTEGER
) STRICT;

CREATE VIEW series AS
SELECT
  second, offered, sent, completed, failed, cancelled, refused,
  sum(sent - completed - failed - cancelled) OVER (ORDER BY second) AS in_flight,
  lag_max_ns
FROM second;
${MONITOR_SCHEMA}`;
