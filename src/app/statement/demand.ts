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

/**
 * The demand of all whole days of a capture, whichever window of it is replayed.
 * @throws AppError OPTION_INVALID for too many windows
 */
export function recordedDemand(
  opened: OpenedCapture,
  request: WindowRequest,
  replayed: readonly TimeRange[],
  { lengthS, timeZone }: StatementPlan['recorded'],
): Pick<DemandDocument, 'days' | 'leftOut' | 'perSecond'> {
  const everything = { ...request, ranges: [{ fromUs: null, toUs: null }], search: null };
  const { parts } = sliceOf(opened.overview, everything);
  const ranked = opened.ranked({ ranges: parts, lengthS, multiplier: HARDEST_MULTIPLIER });
  return demandOfDays(ranked, replayed, lengthS, new DayCalendar(timeZone));
}

/** The days that statements of the same test have put into the history, in the unit of this one. */
export function earlierDemand(
  file: string | null,
  test: string,
  lengthS: number,
  { days, perSecond }: Pick<DemandDocument, 'days' | 'perSecond'>,
): DemandDocument['days'] {
  if (file === null || !existsSync(file)) return [];
  const own = new Set(days.map(({ day }) => day));
  const history = new History(file, 'read');
  try {
    const found = history.demand(test, lengthS).filter(({ day }) => !own.has(day));
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
      plan.recorded.lengthS,
      days.map(({ day, demand }) => ({ day, perSecond: demand * perSecond })),
    );
  } finally {
    history.close();
  }
}
