import { AppError } from '../../core/errors.ts';
import { type ExchangeRow, isBrokenOff } from '../../core/exchange.ts';
import type { TimeRange } from '../../core/ports.ts';

/** Arrivals of one UTC second, from a capture's roll-ups. Seconds without arrivals are left out. */
interface SecondCount {
  /** Epoch seconds. */
  readonly second: number;
  readonly exchanges: number;
}

/** Arrivals of one second with the number and the sum of its known recorded latencies. */
export interface SecondSums extends SecondCount {
  readonly latencyCount: number;
  readonly latencySumUs: number;
}

/** The facts about a capture that a replay needs before it reads an exchange. */
export interface CaptureOverview {
  /** The capture's directory, for display. */
  readonly name: string;
  readonly exchanges: number;
  /** Null without arrivals. */
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  /** Recorded share of the seen traffic; null if unknown, as for imports. */
  readonly coverage: number | null;
  /** Coverage is the lower bound: a killed recording did not count its last exchanges. */
  readonly coverageIsAtLeast?: boolean;
  /** Whether it has only arrivals, such as an import without payloads. It can be planned, but not sent. */
  readonly arrivalsOnly: boolean;
  /** Authorities of the upstreams that were recorded. */
  readonly targets: readonly string[];
  /** The places where its recorders looked for session keys; empty if they had none. */
  readonly sessionKeys: readonly string[];
  /** Seconds that overlap a range, in order. */
  seconds(range: TimeRange): Iterable<SecondSums>;
  /**
   * The window of this length within the ranges that is hardest for a server. It reads all rows of the ranges.
   * @throws AppError OPTION_INVALID, CAPTURE_EMPTY
   */
  hardest(lengthS: number, ranges: readonly TimeRange[]): TimeRange;
}

/** Why a recorded exchange has no request to send. A closed list, because reports group by it. */
export const SKIP_REASONS = ['incomplete_request', 'truncated_request', 'no_payload'] as const;
export type SkipReason = (typeof SKIP_REASONS)[number];

/**
 * Why a row is skipped, from its facts alone; null if it is replayable. A complete request is replayable with any
 * recorded status.
 */
export function skipReasonOf(row: ExchangeRow): SkipReason | null {
  // Only a broken exchange may have an incomplete request. Imported requests have no recorded end.
  if (isBrokenOff(row) && row.requestEndOffsetUs === null && row.protocol !== null) {
    return 'incomplete_request';
  }
  if (row.requestTruncated) return 'truncated_request';
  return row.requestStored ? null : 'no_payload';
}

/** The error for a capture that can be planned but not sent. */
export function arrivalsAlone(name: string): AppError {
  return new AppError('CAPTURE_EMPTY', `The capture ${name} contains arrivals but no requests to send`, {
    hint: 'Import the file again with requests: --build-prompts MODEL makes them from token counts, and reprise import arrivals --payloads FILE adds recorded ones. --dry-run plans the arrivals.',
  });
}
