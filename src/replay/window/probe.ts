import { AppError } from '../../core/errors.ts';
import { isHttp2 } from '../../core/exchange.ts';
import { headerValue, parseRequestHead } from '../../core/headers.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import type { UncheckedReason } from '../../core/run.ts';
import { describeFilters } from '../../documents/replay-plan.ts';
import { isGrpc } from '../../inference/grpc.ts';
import { whyNoBody } from '../check/compared-fields.ts';
import type { ExpectedProtocols } from '../engine/messages.ts';
import type { Filters } from '../options/window-options.ts';
import { SKIP_REASONS, type SkipReason, skipReasonOf } from './capture.ts';
import { Playback } from './playback.ts';

interface Probe {
  /** Recorded names of servers. */
  readonly authorities: ReadonlySet<string>;
  readonly protocols: ExpectedProtocols;
}

/** Replayable requests whose `Host` is checked before a start. */
const PROBED_REQUESTS = 64;

/**
 * Reads the first replayable requests of a window, so that an invalid start fails early with a clear message. It reads
 * a limited part of the window; if filters leave nothing there, it continues to the first such request.
 * @param filters for the error if they leave nothing
 * @returns what this sample shows; the plan checks each request again
 * @throws AppError CAPTURE_EMPTY if the window has no request to send
 */
export function probeCapture(
  source: CaptureSource,
  window: TimeRange & { readonly parts: readonly TimeRange[] },
  filters: Filters | null = null,
): Probe {
  const authorities = new Set<string>();
  const protocols = { http1: false, http2: false, grpc: false };
  const skipped = new Map<SkipReason, number>();
  let [probed, read] = [0, 0];
  for (const row of source instanceof Playback ? stretchesIn(source, window.parts) : source.rows(window)) {
    if (probed > 0 && read >= LIMITS.probedExchanges) break;
    read += 1;
    if (row === null) continue;
    const reason = skipReasonOf(row);
    if (reason !== null) {
      skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
      continue;
    }
    const request = source.payload(row)?.request ?? null;
    const headers = request === null ? [] : parseRequestHead(request.head).headers;
    const host = headerValue(headers, 'host');
    const isCall = isGrpc(headerValue(headers, 'content-type'));
    protocols[!isHttp2(row) ? 'http1' : isCall ? 'grpc' : 'http2'] = true;
    if (host !== null) authorities.add(host);
    probed += 1;
    if (probed === PROBED_REQUESTS) break;
  }
  if (probed === 0) throw nothingToSend(skipped, source, filters);
  return { authorities, protocols };
}

function* stretchesIn(source: Playback, parts: readonly TimeRange[]) {
  for (const part of parts) yield* source.stretch(part);
}

/** Samples of a window, and answers read in each. If none of them can be compared, hardly any answer can. */
const ANSWER_STRETCHES = 16;
const ANSWERS_EACH = 16;

/**
 * Why answers cannot be compared with the recorded ones: the most frequent reason in a sample over the windows. Null if
 * one of them can be compared, if none was recorded, or if filters leave too few.
 */
export function whyNotComparable(source: Playback, windows: readonly TimeRange[]): UncheckedReason | null {
  const reasons = new Map<UncheckedReason, number>();
  let read = 0;
  for (const range of windows.flatMap((window) => stretchesOf(window))) {
    let looked = 0;
    for (const row of source.stretch(range)) {
      if (read === LIMITS.probedExchanges) return null;
      read += 1;
      if (row === null || skipReasonOf(row) !== null) continue;
      const why = whyNoBody(source.payload(row)?.response ?? null);
      if (why === null) return null;
      reasons.set(why, (reasons.get(why) ?? 0) + 1);
      looked += 1;
      if (looked === ANSWERS_EACH) break;
    }
  }
  return [...reasons].sort(([, a], [, b]) => b - a)[0]?.[0] ?? null;
}

function stretchesOf({ fromUs, toUs }: TimeRange): TimeRange[] {
  const stepUs = Math.ceil(Math.max(1, (toUs - fromUs) / ANSWER_STRETCHES));
  const stretches: TimeRange[] = [];
  for (let at = fromUs; at < toUs; at += stepUs)
    stretches.push({ fromUs: at, toUs: Math.min(toUs, at + stepUs) });
  return stretches;
}

/** The error for a window without exchanges to replay. @param source a source that was read to its end */
export function nothingSelected(source: CaptureSource, filters: Filters | null): AppError {
  const words = filters === null ? [] : describeFilters(filters);
  const selected = words.length === 0 ? 'lies in the window' : `of the window has ${words.join('; ')}`;
  const hint = filters !== null && source instanceof Playback ? source.leftOut.describe(filters) : null;
  return new AppError('CAPTURE_EMPTY', `No exchange ${selected}`, { hint });
}

function nothingToSend(
  skipped: ReadonlyMap<SkipReason, number>,
  source: CaptureSource,
  filters: Filters | null,
): AppError {
  const counts = SKIP_REASONS.filter((reason) => skipped.has(reason)).map(
    (reason) => `${skipped.get(reason)} ${reason}`,
  );
  if (counts.length === 0) return nothingSelected(source, filters);
  const hint = skipped.has('no_payload')
    ? 'Their bodies were not stored: record or import with bodies (--bodies requests), or use --dry-run.'
    : 'Use --dry-run to see what it holds.';
  return new AppError(
    'CAPTURE_EMPTY',
    `The window contains no request that can be replayed: ${counts.join(', ')}`,
    {
      hint,
    },
  );
}
