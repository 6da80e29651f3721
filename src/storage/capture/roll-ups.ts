import { type Exchange, hasExchangeFailed, OUTCOMES } from '../../core/exchange.ts';
import { hourOf } from './directory.ts';
import type { Connection } from './sqlite.ts';

const SECOND_US = 1_000_000;

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

export type Writable<T> = { -readonly [K in keyof T]: T[K] };

interface HourSums {
  exchanges: number;
  requestBytes: number;
  responseBytes: number;
  completed: number;
  client_aborted: number;
  upstream_failed: number;
  timed_out: number;
  requestsTruncated: number;
  responsesTruncated: number;
}

const UPSERT_SECOND = `INSERT INTO second VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (second) DO UPDATE SET
  exchanges = exchanges + excluded.exchanges,
  failed = failed + excluded.failed,
  request_bytes = request_bytes + excluded.request_bytes,
  response_bytes = response_bytes + excluded.response_bytes,
  latency_count = latency_count + excluded.latency_count,
  latency_sum_us = latency_sum_us + excluded.latency_sum_us,
  latency_max_us = max(latency_max_us, excluded.latency_max_us)`;

const UPSERT_HOUR = `INSERT INTO hour VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hour) DO UPDATE SET
  exchanges = exchanges + excluded.exchanges,
  request_bytes = request_bytes + excluded.request_bytes,
  response_bytes = response_bytes + excluded.response_bytes,
  completed = completed + excluded.completed,
  client_aborted = client_aborted + excluded.client_aborted,
  upstream_failed = upstream_failed + excluded.upstream_failed,
  timed_out = timed_out + excluded.timed_out,
  requests_truncated = requests_truncated + excluded.requests_truncated,
  responses_truncated = responses_truncated + excluded.responses_truncated,
  committed_us = max(committed_us, excluded.committed_us)`;

/** Keeps sums per second and hour beside the rows, so totals and peaks need no scan. */
export class RollUps {
  readonly #upsertSecond;
  readonly #upsertHour;

  constructor(connection: Connection) {
    this.#upsertSecond = connection.prepare<number[]>(UPSERT_SECOND);
    this.#upsertHour = connection.prepare<number[]>(UPSERT_HOUR);
  }

  /** Adds a batch to the sums, inside the transaction that inserts its rows. */
  add(exchanges: readonly Exchange[], committedUs: number): void {
    const seconds = new Map<number, Writable<SecondRollUp>>();
    const hours = new Map<number, HourSums>();
    let second: Writable<SecondRollUp> | null = null;
    let hour: HourSums | null = null;
    for (const exchange of exchanges) {
      // Consecutive exchanges mostly arrive in the same second.
      const at = Math.floor(exchange.arrivalUs / SECOND_US);
      if (second === null || hour === null || second.second !== at) {
        second = secondOf(seconds, at);
        hour = hourSumsOf(hours, hourOf(exchange.arrivalUs));
      }
      addToSecond(second, exchange);
      addToHour(hour, exchange);
    }
    for (const sum of seconds.values()) {
      this.#upsertSecond.run(
        sum.second,
        sum.exchanges,
        sum.failed,
        sum.requestBytes,
        sum.responseBytes,
        sum.latencyCount,
        sum.latencySumUs,
        sum.latencyMaxUs,
      );
    }
    for (const [hour, sum] of hours) {
      this.#upsertHour.run(
        hour,
        sum.exchanges,
        sum.requestBytes,
        sum.responseBytes,
        sum.completed,
        sum.client_aborted,
        sum.upstream_failed,
        sum.timed_out,
        sum.requestsTruncated,
        sum.responsesTruncated,
        committedUs,
      );
    }
  }
}

function secondOf(seconds: Map<number, Writable<SecondRollUp>>, second: number): Writable<SecondRollUp> {
  const sum = seconds.get(second) ?? emptySecond(second);
  seconds.set(second, sum);
  return sum;
}

function hourSumsOf(hours: Map<number, HourSums>, hour: number): HourSums {
  const sum = hours.get(hour) ?? emptyHour();
  hours.set(hour, sum);
  return sum;
}

function addToSecond(sum: Writable<SecondRollUp>, exchange: Exchange): void {
  sum.exchanges += 1;
  if (hasExchangeFailed(exchange)) sum.failed += 1;
  sum.requestBytes += exchange.request?.body.bytes ?? 0;
  sum.responseBytes += exchange.response?.body.bytes ?? 0;
  if (exchange.lastByteOffsetUs !== null) {
    sum.latencyCount += 1;
    sum.latencySumUs += exchange.lastByteOffsetUs;
    sum.latencyMaxUs = Math.max(sum.latencyMaxUs, exchange.lastByteOffsetUs);
  }
}

function addToHour(sum: HourSums, exchange: Exchange): void {
  sum.exchanges += 1;
  sum.requestBytes += exchange.request?.body.bytes ?? 0;
  sum.responseBytes += exchange.response?.body.bytes ?? 0;
  sum[exchange.outcome] += 1;
  if (exchange.request?.body.truncated) sum.requestsTruncated += 1;
  if (exchange.response?.body.truncated) sum.responsesTruncated += 1;
}

export function emptySecond(second: number): Writable<SecondRollUp> {
  return {
    second,
    exchanges: 0,
    failed: 0,
    requestBytes: 0,
    responseBytes: 0,
    latencyCount: 0,
    latencySumUs: 0,
    latencyMaxUs: 0,
  };
}

function emptyHour(): HourSums {
  return {
    exchanges: 0,
    requestBytes: 0,
    responseBytes: 0,
    completed: 0,
    client_aborted: 0,
    upstream_failed: 0,
    timed_out: 0,
    requestsTruncated: 0,
    responsesTruncated: 0,
  };
}

/*
 * Queries that compute from the rows of a segment what `RollUps` adds up batch by batch. `verify` compares
 * them with its tables; `forget` writes them again.
 */

/** Floor division. SQLite's own rounds towards zero, and imported arrivals may be before 1970. */
function floored(divisor: number): string {
  return `(arrival_us - ((arrival_us % ${divisor}) + ${divisor}) % ${divisor}) / ${divisor}`;
}

const outcomes = OUTCOMES.map((_, code) => `count(*) FILTER (WHERE outcome = ${code})`).join(', ');

/** Rows of the table `second`, in column order. */
export const SELECT_SECOND_SUMS = `SELECT ${floored(1_000_000)} AS second, count(*),
  count(*) FILTER (WHERE outcome <> ${OUTCOMES.indexOf('completed')} OR coalesce(status, 0) >= 500),
  sum(coalesce(request_bytes, 0)), sum(coalesce(response_bytes, 0)), count(last_byte_offset_us),
  coalesce(sum(last_byte_offset_us), 0), max(0, coalesce(max(last_byte_offset_us), 0))
FROM exchange GROUP BY 1`;

/** Rows of the table `hour`, in column order, without the last column (when a row was last added to). */
export const SELECT_HOUR_SUMS = `SELECT ${floored(3_600_000_000)} AS hour, count(*),
  sum(coalesce(request_bytes, 0)), sum(coalesce(response_bytes, 0)), ${outcomes},
  sum(request_truncated), sum(response_truncated)
FROM exchange GROUP BY 1`;

/** The columns of `hour` that `SELECT_HOUR_SUMS` returns. */
export const HOUR_COLUMNS = `hour, exchanges, request_bytes, response_bytes, completed, client_aborted,
  upstream_failed, timed_out, requests_truncated, responses_truncated`;
