import type { DayCalendar } from '../../core/calendar.ts';
import type { TimeRange } from '../../core/ports.ts';
import { HOUR_US, US_PER_S } from '../../core/units.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import type { DemandDocument, HeadroomDocument } from '../../documents/headroom.ts';
import type { RankedWindows } from '../windows/rank.ts';

/**
 * The hardest window of each whole day, as a multiple of the load that is 1x. Windows are compared by work, so that more
 * expensive requests count for more; by requests if latencies are not known.
 * @param replayed the load that is 1x; the ranked window in it with the most work counts
 * @param lengthS of the ranked windows
 */
export function demandOfDays(
  ranked: RankedWindows,
  replayed: readonly TimeRange[],
  lengthS: number,
  calendar: DayCalendar,
): Pick<DemandDocument, 'days' | 'leftOut' | 'perSecond'> {
  const { starts, requests, recordedS, dimensions } = ranked;
  const perS = dimensions.find(({ dimension }) => dimension === 'work')?.values;
  const work = perS?.map((each, at) => each * recordedS[at]!) ?? requests;
  const lengthUs = lengthS * US_PER_S;
  const isReplayed = (fromUs: number) =>
    replayed.some((range) => fromUs < range.toUs && fromUs + lengthUs > range.fromUs);
  const hardest = starts.reduce(
    (best, fromUs, at) => (isReplayed(fromUs) && (best === -1 || work[at]! > work[best]!) ? at : best),
    -1,
  );
  if (hardest === -1 || work[hardest] === 0) return { days: [], leftOut: 0, perSecond: 0 };
  const most = new Map<string, number>();
  for (const [at, fromUs] of starts.entries()) {
    const day = calendar.dayOf(fromUs);
    most.set(day, Math.max(most.get(day) ?? 0, work[at]! / work[hardest]!));
  }
  // A day that begins or ends more than an hour beside the recording may lack its hardest window.
  const partial = new Set<string>();
  const [first, end] = [starts[0]!, starts.at(-1)! + lengthUs];
  if (calendar.dayOf(first - HOUR_US) === calendar.dayOf(first)) partial.add(calendar.dayOf(first));
  if (calendar.dayOf(end - 1) === calendar.dayOf(end + HOUR_US)) partial.add(calendar.dayOf(end));
  const days = [...most].flatMap(([day, demand]) => (partial.has(day) ? [] : [{ day, demand }]));
  return { days, leftOut: partial.size, perSecond: requests[hardest]! / lengthS };
}

/** The interval of the breaking point that a search found; null if no load is known to pass. */
export function capacityOf({
  breakingPoint: { passes, fails, interval },
  calibration,
}: Pick<CapacityDocument, 'breakingPoint' | 'calibration'>): HeadroomDocument['capacity'] {
  if (passes === null || calibration?.representative === false) return null;
  const [low, high] = interval ?? [passes.multiplier, fails?.multiplier ?? null];
  return low > 0 ? { low, high } : null;
}
