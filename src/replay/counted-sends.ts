import type { CaptureSource, TimeRange } from '../core/ports.ts';
import type { RequestBuilder } from './request-builder.ts';
import { arrivalsIn, playedAs } from './scaling/arrivals.ts';
import type { Scaling } from './scaling/scaling.ts';
import { scheduleOf } from './schedule.ts';
import { skipReasonOf } from './skip.ts';

export interface CountedStretch {
  readonly source: CaptureSource;
  readonly range: TimeRange;
  /** A new one for each pass: draws go on from pass to pass. */
  readonly scaling: () => Scaling;
  readonly durationNs: number | null;
  /** The capture has arrivals alone, which are planned although nothing can be sent. */
  readonly arrivalsOnly: boolean;
}

/**
 * How many requests a stretch plans, row by row and up to `most`: roll-ups do not say what lies in a part of a second.
 * @param builder what rows do not say, payloads do: with it, what cannot be built is not counted. Each is opened
 */
export function countedSends(
  stretch: CountedStretch,
  most: number,
  builder: RequestBuilder | null = null,
): number {
  const { source, range, arrivalsOnly } = stretch;
  const scaling = stretch.scaling();
  const durationNs = stretch.durationNs ?? Number.POSITIVE_INFINITY;
  let count = 0;
  for (const send of scheduleOf(arrivalsIn(source, range, scaling), scaling)) {
    if (count >= most || send.intendedOffsetNs >= durationNs) break;
    if (!send.kept) continue;
    const { row } = send;
    const skipped = skipReasonOf(row);
    if (skipped === null) {
      const built = builder?.build(source.payload(row), playedAs(send, scaling)).kind ?? 'ready';
      if (built === 'ready') count += 1;
    } else if (arrivalsOnly && skipped === 'no_payload') count += 1;
  }
  return count;
}
