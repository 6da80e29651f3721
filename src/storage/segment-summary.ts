import type { Amount, LossReason, OmissionCause, ProtocolUse } from '../core/accounting.ts';
import type { SegmentMeta } from './segment-meta.ts';
import type { SegmentReader } from './segment-reader.ts';
import type { ExpiredSums } from './side-records.ts';

/** What a segment says of itself, read from its small tables. */
export interface SegmentSummary {
  readonly meta: SegmentMeta;
  readonly span: { readonly firstUs: number; readonly lastUs: number } | null;
  readonly hours: readonly HourSummary[];
  readonly losses: readonly (Amount & { readonly reason: LossReason })[];
  readonly omissions: readonly (Amount & { readonly cause: OmissionCause })[];
  readonly protocols: readonly ProtocolUse[];
  readonly expiries: readonly (ExpiredSums & { readonly file: string })[];
  readonly anchors: number;
}

/** Sums of the exchanges that arrived within one UTC hour. */
export interface HourSummary {
  readonly hour: number;
  readonly exchanges: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly completed: number;
  readonly clientAborted: number;
  readonly upstreamFailed: number;
  readonly timedOut: number;
  readonly requestsTruncated: number;
  readonly responsesTruncated: number;
}

/** @throws AppError CAPTURE_DAMAGED naming the segment. */
export function summaryOf(reader: SegmentReader): SegmentSummary {
  return {
    meta: reader.meta(),
    span: reader.span(),
    hours: reader.all<HourSummary>(`SELECT hour, exchanges, request_bytes AS requestBytes,
      response_bytes AS responseBytes, completed, client_aborted AS clientAborted,
      upstream_failed AS upstreamFailed, timed_out AS timedOut, requests_truncated AS requestsTruncated,
      responses_truncated AS responsesTruncated FROM hour ORDER BY hour`),
    losses: reader.all(
      'SELECT reason, sum(exchanges) AS exchanges, sum(bytes) AS bytes FROM loss GROUP BY reason',
    ),
    omissions: reader.all('SELECT cause, exchanges, bytes FROM omission'),
    protocols: reader.all('SELECT protocol, connections, bytes FROM protocol_use'),
    expiries:
      reader.all(`SELECT file, 1 + earlier_segments AS segments, exchanges + earlier_exchanges AS exchanges,
      bytes + earlier_bytes AS bytes FROM expiry`),
    anchors: reader.all<{ count: number }>('SELECT count(*) AS count FROM anchor')[0]?.count ?? 0,
  };
}
