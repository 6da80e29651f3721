import { AppError } from '../core/errors.ts';
import type { TimeRange } from '../core/ports.ts';
import { formatInstantUs, formatMs } from '../core/units.ts';
import type { CaptureOverview } from './capture-overview.ts';

/** The slice of a capture that is replayed, closed at the last arrival known when it was chosen. */
export interface ReplayWindow extends TimeRange {
  /** Length of the replay if it spans the whole window, nanoseconds. */
  readonly plannedSpanNs: number;
}

/**
 * Chooses the window: what was asked for, cut to what there is.
 * @throws AppError CAPTURE_EMPTY where nothing lies in it, OPTION_INVALID where its replay would last too long.
 */
export function chooseWindow(
  overview: CaptureOverview,
  asked: { readonly fromUs: number | null; readonly toUs: number | null },
  multiplier: number,
): ReplayWindow {
  const { firstArrivalUs: firstUs, lastArrivalUs: lastUs } = overview;
  if (firstUs === null || lastUs === null) {
    throw new AppError('CAPTURE_EMPTY', `The capture ${overview.name} holds no exchange`);
  }
  // A capture that is still being recorded must not grow the plan while it runs.
  const fromUs = Math.max(asked.fromUs ?? firstUs, firstUs);
  const toUs = Math.min(asked.toUs ?? lastUs + 1, lastUs + 1);
  if (fromUs >= toUs) throw nothingWithin(overview);
  const plannedSpanNs = ((toUs - 1 - fromUs) * 1000) / multiplier;
  if (plannedSpanNs > Number.MAX_SAFE_INTEGER) {
    throw new AppError(
      'OPTION_INVALID',
      `--multiplier: at ${multiplier} this window lasts ${formatMs(plannedSpanNs / 1e6)}; the most is 104 days`,
      { hint: 'Narrow the window with --from and --to, or raise the multiplier.' },
    );
  }
  return { fromUs, toUs, plannedSpanNs };
}

/** The error for a window without arrivals. */
export function nothingWithin(overview: CaptureOverview): AppError {
  const { firstArrivalUs: firstUs, lastArrivalUs: lastUs } = overview;
  const span =
    firstUs === null || lastUs === null
      ? {}
      : { hint: `It holds ${formatInstantUs(firstUs)} to ${formatInstantUs(lastUs)}.` };
  return new AppError('CAPTURE_EMPTY', `No exchange of ${overview.name} lies in the window`, span);
}
