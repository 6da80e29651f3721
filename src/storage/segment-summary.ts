import type { Amount, LossReason, OmissionCause, ProtocolUse } from '../core/accounting.ts';
import type { ExpiredSums } from './manifest.ts';
import type { SegmentMeta } from './segment-meta.ts';
import type { SegmentReader } from './segment-reader.ts';

/** What a segment says of itself, read from its small tables. */
export interface SegmentSummary {
  readonly meta: SegmentMeta;
  readonly span: { readonly firstUs: number; readonly lastUs: number } | null;
  readonly hours: readonly HourSummary[];
  readonly losses: readonly (Amount & { readonly reason: LossReason })[];
  readonly omissions: readonly (Amount & { readonly cause: OmissionCause })[];
  readonly protocols: readonly ProtocolUse[];
  readonly expiries: readonly ExpirySummary[];
  /** How often the recorder noted its clock and the host's. */
  readonly clockAnchors: number;
  /** What died with a recorder, stretch by stretch. */
  readonly crashes: readonly TimedLoss[];
}

/** An expiry recorded in the segment, summed with those it carries on. */
export interface ExpirySummary extends ExpiredSums {
  readonly file: string;
  /** Of the segment alone. */
  readonly ownExchanges: number;
  readonly ownBytes: number;
  /** Epoch microseconds; null for one without arrivals. */
  readonly lastArrivalUs: number | null;
  readonly expiredUs: number;
}

export interface TimedLoss {
  readonly fromUs: number;
  readonly toUs: number;
  readonly exchanges: number;
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
  const meta = reader.meta();
  const losses = reader.all<Amount & { readonly reason: LossReason }>(
    'SELECT reason, sum(exchanges) AS exchanges, sum(bytes) AS bytes FROM loss GROUP BY reason',
  );
  // Over hundreds of segments most of the time goes into preparing statements: none for what cannot be there.
  const crashed = meta.recoveredUs !== null;
  return {
    meta,
    span: reader.span(),
    hours: reader.all<HourSummary>(`SELECT hour, exchanges, request_bytes AS requestBytes,
      response_bytes AS responseBytes, completed, client_aborted AS clientAborted,
      upstream_failed AS upstreamFailed, timed_out AS timedOut, requests_truncated AS requestsTruncated,
      responses_truncated AS responsesTruncated FROM hour ORDER BY hour`),
    losses,
    omissions: reader.all('SELECT cause, exchanges, bytes FROM omission'),
    protocols: reader.all('SELECT protocol, connections, bytes FROM protocol_use'),
    expiries: reader.all(SELECT_EXPIRIES),
    clockAnchors: reader.all<{ count: number }>(COUNT_ANCHORS)[0]?.count ?? 0,
    crashes: crashed ? [crashOf(reader, meta)] : [],
  };
}

/** Rows of `ExpirySummary`. */
export const SELECT_EXPIRIES = `SELECT file, 1 + earlier_segments AS segments,
  exchanges + earlier_exchanges AS exchanges, bytes + earlier_bytes AS bytes, exchanges AS ownExchanges,
  bytes AS ownBytes, last_arrival_us AS lastArrivalUs, expired_us AS expiredUs FROM expiry`;

/** From the last commit of a recorder that died to the recovery of its segment. */
function crashOf(reader: SegmentReader, { openedUs, recoveredUs }: SegmentMeta): TimedLoss {
  const [last] = reader.all<{ committedUs: number | null }>(
    'SELECT max(committed_us) AS committedUs FROM hour',
  );
  const fromUs = last?.committedUs ?? openedUs;
  return { fromUs, toUs: recoveredUs ?? fromUs, exchanges: 0 };
}

const COUNT_ANCHORS = 'SELECT count(*) AS count FROM anchor';
