import { OUTCOMES } from '../core/exchange.ts';

/*
 * The roll-ups once more, from the rows: what `RollUps` adds up batch by batch, as queries over the exchanges of
 * a segment. Whoever checks a segment holds them against its tables, whoever removes rows writes them anew.
 */

/** Floor division: SQLite's own goes towards zero, and arrivals of an imported trace may lie before 1970. */
function floored(divisor: number): string {
  return `(arrival_us - ((arrival_us % ${divisor}) + ${divisor}) % ${divisor}) / ${divisor}`;
}

const outcomes = OUTCOMES.map((_, code) => `count(*) FILTER (WHERE outcome = ${code})`).join(', ');

/** Rows of the table `second`, in the order of its columns. */
export const SELECT_SECOND_SUMS = `SELECT ${floored(1_000_000)} AS second, count(*),
  count(*) FILTER (WHERE outcome <> ${OUTCOMES.indexOf('completed')} OR coalesce(status, 0) >= 500),
  sum(coalesce(request_bytes, 0)), sum(coalesce(response_bytes, 0)), count(last_byte_offset_us),
  coalesce(sum(last_byte_offset_us), 0), max(0, coalesce(max(last_byte_offset_us), 0))
FROM exchange GROUP BY 1`;

/** Rows of the table `hour`, in the order of its columns, but for the last: when a row was last added to. */
export const SELECT_HOUR_SUMS = `SELECT ${floored(3_600_000_000)} AS hour, count(*),
  sum(coalesce(request_bytes, 0)), sum(coalesce(response_bytes, 0)), ${outcomes},
  sum(request_truncated), sum(response_truncated)
FROM exchange GROUP BY 1`;

/** The columns of `hour` that `SELECT_HOUR_SUMS` gives. */
export const HOUR_COLUMNS = `hour, exchanges, request_bytes, response_bytes, completed, client_aborted,
  upstream_failed, timed_out, requests_truncated, responses_truncated`;
