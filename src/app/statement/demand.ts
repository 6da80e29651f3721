import { existsSync } from 'node:fs';
import { demandOfDays } from '../../analysis/headroom/days.ts';
import { statementTestOf } from '../../analysis/verdict/ci-report.ts';
import { DayCalendar } from '../../core/calendar.ts';
import type { TimeRange } from '../../core/ports.ts';
import type { DemandDocument } from '../../documents/headroom.ts';
import type { StatementPlan } from '../../documents/statement.ts';
import type { WindowRequest } from '../../replay/options/window-options.ts';
import { sliceOf } from '../../replay/window/window.ts';
import { History } from '../../storage/history.ts';
import { HARDEST_MULTIPLIER, type OpenedCapture } from '../open-capture.ts';

/** The windows that are ranked if one is chosen by hand; and always those of demand, so that months can be compared. */
export const RANKED_S = 900;

/** The demand of all whole days of a capture, whichever window of it is replayed. */
export function recordedDemand(
  opened: OpenedCapture,
  request: WindowRequest,
  replayed: readonly TimeRange[],
  timeZone: string,
): Pick<DemandDocument, 'days' | 'leftOut' | 'perSecond'> {
  const everything = { ...request, ranges: [{ fromUs: null, toUs: null }], search: null };
  const { parts } = sliceOf(opened.overview, everything);
  const ranked = opened.ranked({ ranges: parts, lengthS: RANKED_S, multiplier: HARDEST_MULTIPLIER });
  return demandOfDays(ranked, replayed, RANKED_S, new DayCalendar(timeZone));
}

/** The days that statements of the same test have put into the history, in the unit of this one. */
export function earlierDemand(
  file: string | null,
  test: string,
  { days, perSecond }: Pick<DemandDocument, 'days' | 'perSecond'>,
): DemandDocument['days'] {
  if (file === null || perSecond === 0 || !existsSync(file)) return [];
  const own = new Set(days.map(({ day }) => day));
  const history = new History(file, 'read');
  try {
    const found = history.demand(test).filter(({ day }) => !own.has(day));
    return found.map((each) => ({ day: each.day, demand: each.perSecond / perSecond }));
  } finally {
    history.close();
  }
}

/** Puts the days of a statement into the history, for the statements of later months. */
export function keepDemand(file: string, plan: StatementPlan): void {
  const { days, perSecond } = plan.demand;
  const history = new History(file, 'write');
  try {
    history.addDemand(
      statementTestOf(plan),
      days.map(({ day, demand }) => ({ day, perSecond: demand * perSecond })),
    );
  } finally {
    history.close();
  }
}
