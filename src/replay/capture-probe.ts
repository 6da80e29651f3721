import { AppError } from '../core/errors.ts';
import { headerValue, parseRequestHead } from '../core/headers.ts';
import type { CaptureSource, TimeRange } from '../core/ports.ts';
import { SKIP_REASONS, type SkipReason, skipReasonOf } from './skip.ts';

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
  return new AppError('CAPTURE_EMPTY', `The capture ${name} holds arrivals without requests to send`, {
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
    `The window holds no request that could be sent again: ${counts.join(', ')}`,
    {
      hint,
    },
  );
}
