import { AppError } from '../../core/errors.ts';
import type { ExchangeRow } from '../../core/exchange.ts';
import { headerValue, parseRequestHead } from '../../core/headers.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';

/** Arrivals of one second of UTC, from a capture's roll-ups. Seconds without arrivals are left out. */
export interface SecondCount {
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

/** Replayable requests whose `Host` is looked at before a start. */
const PROBED_REQUESTS = 64;

/**
 * Looks at the first replayable requests of a window, so that a start fails early and in clear words.
 * @param filters in words, for the error where they leave nothing
 * @returns the authorities they were recorded under
 * @throws AppError CAPTURE_EMPTY where the window holds nothing that could be sent again
 */
export function probeCapture(
  source: CaptureSource,
  range: TimeRange,
  filters: readonly string[] = [],
): ReadonlySet<string> {
  const authorities = new Set<string>();
  const skipped = new Map<SkipReason, number>();
  let probed = 0;
  for (const row of source.rows(range)) {
    const reason = skipReasonOf(row);
    if (reason !== null) {
      skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
      continue;
    }
    const request = source.payload(row)?.request ?? null;
    const host = request === null ? null : headerValue(parseRequestHead(request.head).headers, 'host');
    if (host !== null) authorities.add(host);
    probed += 1;
    if (probed === PROBED_REQUESTS) break;
  }
  if (probed === 0) throw nothingToSend(skipped, filters);
  return authorities;
}

/** The error for a capture that can be planned and not sent. */
export function arrivalsAlone(name: string): AppError {
  return new AppError('CAPTURE_EMPTY', `The capture ${name} contains arrivals but no requests to send`, {
    hint: 'Import the trace with --payloads to replay it; --dry-run plans it as it is.',
  });
}

/** The error for a window that holds nothing of what is to be played. @param filters in words */
export function nothingSelected(filters: readonly string[]): AppError {
  const selected = filters.length === 0 ? 'lies in the window' : `of the window has ${filters.join('; ')}`;
  return new AppError('CAPTURE_EMPTY', `No exchange ${selected}`);
}

function nothingToSend(skipped: ReadonlyMap<SkipReason, number>, filters: readonly string[]): AppError {
  const counts = SKIP_REASONS.filter((reason) => skipped.has(reason)).map(
    (reason) => `${skipped.get(reason)} ${reason}`,
  );
  if (counts.length === 0) return nothingSelected(filters);
  const hint = skipped.has('no_payload')
    ? 'It has arrivals without requests: record them, import the trace with --payloads, or use --dry-run.'
    : 'Use --dry-run to see what it holds.';
  return new AppError(
    'CAPTURE_EMPTY',
    `The window contains no request that can be replayed: ${counts.join(', ')}`,
    {
      hint,
    },
  );
}
