import type { CaptureSource, TimeRange } from '../core/ports.ts';
import { arrivalsIn } from './scaling/arrivals.ts';
import type { Scaling } from './scaling/scaling.ts';
import { scheduleOf } from './schedule.ts';
import { skipReasonOf } from './skip.ts';

export interface CountedStretch {
  readonly source: CaptureSource;
  readonly range: TimeRange;
  /** For this pass alone: draws go on from pass to pass. */
  readonly scaling: Scaling;
  readonly durationNs: number | null;
  /** The capture has arrivals alone, which are planned although nothing can be sent. */
  readonly arrivalsOnly: boolean;
}

/**
 * How many requests a stretch plans, row by row and up to `most`: roll-ups do not say what lies in a part of a second,
 * and nothing is to be refused for an estimate.
 */
export function countedSends(stretch: CountedStretch, most: number): number {
  const { source, range, scaling, arrivalsOnly } = stretch;
  const durationNs = stretch.durationNs ?? Number.POSITIVE_INFINITY;
  let count = 0;
  for (const { row, kept, intendedOffsetNs } of scheduleOf(arrivalsIn(source, range, scaling), scaling)) {
    if (count >= most || intendedOffsetNs >= durationNs) break;
    const skipped = kept ? skipReasonOf(row) : null;
    if (kept && (skipped === null || (arrivalsOnly && skipped === 'no_payload'))) count += 1;
  }
  return count;
}
