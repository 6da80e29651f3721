import { OUTCOMES } from '../../core/exchange.ts';
import { HOUR_US } from '../../core/units.ts';
import { UNKNOWN_OUTCOME } from './schema.ts';
import { addInto, type Connection } from './sqlite.ts';

/** Sums of one second of arrivals. Bytes are body bytes after transfer decoding. */
export interface SecondRollUp {
  /** Seconds since the epoch. */
  readonly second: number;
  readonly exchanges: number;
  /** No complete response, a broken stream, or a 5xx. */
  readonly failed: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** Exchanges with a known end, the sum of their latencies and the greatest, microseconds. */
  readonly latencyCount: number;
  readonly latencySumUs: number;
  readonly latencyMaxUs: number;
}

/** Floor division. SQLite's own rounds towards zero, and imported arrivals may be before 1970. */
function floored(divisor: number): string {
  return `(arrival_us - ((arrival_us % ${divisor}) + ${divisor}) % ${divisor}) / ${divisor}`;
}

export const HOUR_OF_ARRIVAL = floored(HOUR_US);

const BYTES = 'sum(coalesce(request_bytes, 0)), sum(coalesce(response_bytes, 0))';

/** Columns of the table `second`, in order, over rows of `exchange`. */
const SECOND = `${floored(1_000_000)} AS second, count(*),
  count(*) FILTER (WHERE outcome NOT IN (${OUTCOMES.indexOf('completed')}, ${UNKNOWN_OUTCOME}) OR coalesce(status, 0) >= 500),
  ${BYTES}, count(last_byte_offset_us),
  coalesce(sum(last_byte_offset_us), 0), max(0, coalesce(max(last_byte_offset_us), 0))`;

/** Columns of the table `hour`, in order, without the last one (when a row was last added to). */
const HOUR = `${HOUR_OF_ARRIVAL} AS hour, count(*), ${BYTES},
  ${OUTCOMES.map((_, code) => `count(*) FILTER (WHERE outcome = ${code})`).join(', ')},
  sum(request_truncated), sum(response_truncated)`;

/** The sums of a whole segment. `verify` compares its tables with them; `forget` writes them again. */
export const SELECT_SECOND_SUMS = `SELECT ${SECOND} FROM exchange GROUP BY 1`;
export const SELECT_HOUR_SUMS = `SELECT ${HOUR} FROM exchange GROUP BY 1`;

/** The columns of `hour` that `SELECT_HOUR_SUMS` returns. */
export const HOUR_COLUMNS = `hour, exchanges, request_bytes, response_bytes, completed, client_aborted,
  upstream_failed, timed_out, requests_truncated, responses_truncated`;

/**
 * Keeps sums per second and hour beside the rows, so totals and peaks need no scan. The returned function adds
 * the rows after an id to them, inside the transaction that inserts these rows.
 */
export function rollUpsOf(connection: Connection): (afterId: number, committedUs: number) => void {
  const addSeconds = addInto<[number]>(connection, 'second', {
    rows: `SELECT ${SECOND} FROM exchange WHERE id > ? GROUP BY 1`,
    greatest: ['latency_max_us'],
  });
  const addHours = addInto<[number, number]>(connection, 'hour', {
    rows: `SELECT ${HOUR}, ? FROM exchange WHERE id > ? GROUP BY 1`,
    greatest: ['committed_us'],
  });
  return (afterId, committedUs) => {
    addSeconds.run(afterId);
    addHours.run(committedUs, afterId);
  };
}
