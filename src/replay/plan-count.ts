import type { CountedStretch } from './counted-sends.ts';
import { arrivalsIn } from './scaling/arrivals.ts';
import { isOfWindow, scheduleOf } from './schedule.ts';
import { skipReasonOf } from './skip.ts';
import type { Playback } from './windows/playback.ts';

/** What a plan comes to, whichever shard plays it, as far as the facts of its rows tell. */
export interface PlanCount {
  /** Exchanges of the windows that are played. */
  readonly recorded: number;
  /** Requests, as if all of them could be built. */
  readonly planned: number;
  /** The instant of the last request where a most of them ends the plan, nanoseconds of the run; null where it does not. */
  readonly cappedAtNs: number | null;
}

/**
 * Counts a plan row by row, no payload opened.
 * @param maxRequests ends the plan; null where nothing does
 * @param goesOn asked before each exchange of the windows: once it says no, nothing more is read
 * @returns null for one that was not counted to its end
 */
export function countPlan(
  stretch: Omit<CountedStretch, 'source'> & { readonly source: Playback },
  maxRequests: number | null,
  goesOn: () => boolean,
): PlanCount | null {
  const scaling = stretch.scaling();
  const durationNs = stretch.durationNs ?? Number.POSITIVE_INFINITY;
  let isCut = false;
  stretch.source.countOn(() => {
    isCut ||= !goesOn();
    return !isCut;
  });
  let recorded = 0;
  let planned = 0;
  let lastNs = 0;
  for (const send of scheduleOf(arrivalsIn(stretch.source, stretch.range, scaling), scaling)) {
    // What is still held is not all that there is until then.
    if (isCut) return null;
    if (send.intendedOffsetNs >= durationNs) break;
    if (planned === maxRequests) return { recorded, planned, cappedAtNs: lastNs };
    if (isOfWindow(send)) recorded += 1;
    if (!send.kept || skipReasonOf(send.row) !== null) continue;
    planned += 1;
    lastNs = send.intendedOffsetNs;
  }
  return isCut ? null : { recorded, planned, cappedAtNs: null };
}
