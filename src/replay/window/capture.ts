import { AppError } from '../../core/errors.ts';
import type { ExchangeRow } from '../../core/exchange.ts';
import type { TimeRange } from '../../core/ports.ts';

/** Arrivals of one second of UTC, from a capture's roll-ups. Seconds without arrivals are left out. */
interface SecondCount {
  /** Epoch seconds. */
  readonly second: number;
  readonly exchanges: number;
}

/** The same with the latencies that were recorded in it: how many are known, and their sum. */
export interface SecondSums extends SecondCount {
  readonly latencyCount: number;
  readonly latencySumUs: number;
}

/** What a replay needs to know of a capture before it reads one exchange of it. */
export interface CaptureOverview {
  /** The capture's directory, for people. */
  readonly name: string;
  readonly exchanges: number;
  /** Null where there are none. */
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  /** Recorded share of what was seen; null where it is not known, as for imports. */
  readonly coverage: number | null;
  /** It holds arrivals without requests, as of an import without payloads: to be planned, never sent. */
  readonly arrivalsOnly: boolean;
  /** Authorities of the upstreams that were recorded. */
  readonly targets: readonly string[];
  /** Where its recorders looked for the key of a session; empty where they knew none. */
  readonly sessionKeys: readonly string[];
  /** Seconds that overlap a range, in order. */
  seconds(range: TimeRange): Iterable<SecondSums>;
}

/** Why a recorded exchange has no request that could be sent again. A closed list: reports group by it. */
export const SKIP_REASONS = ['incomplete_request', 'truncated_request', 'no_payload'] as const;
export type SkipReason = (typeof SKIP_REASONS)[number];

/**
 * Decides from the facts of a row alone. A complete request is replayable whatever its recorded status.
 */
export function skipReasonOf(row: ExchangeRow): SkipReason | null {
  // An import knows no end of a request; only an exchange that went wrong may have ended within one.
  if (row.outcome !== 'completed' && row.requestEndOffsetUs === null && row.protocol !== null) {
    return 'incomplete_request';
  }
  if (row.requestTruncated) return 'truncated_request';
  return row.requestStored ? null : 'no_payload';
}

/** The error for a capture that can be planned and not sent. */
export function arrivalsAlone(name: string): AppError {
  return new AppError('CAPTURE_EMPTY', `The capture ${name} contains arrivals but no requests to send`, {
    hint: 'Import the trace with --payloads to replay it; --dry-run plans it as it is.',
  });
}
