import type { ExchangeRow } from '../core/exchange.ts';

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
