import { linesOf } from '../../core/text.ts';
import { countOf, formatMultiplier, formatShare } from '../../core/units.ts';
import type { HeadroomDocument } from '../../documents/headroom.ts';
import { timeSeries } from '../render/charts.ts';

const METHOD =
  'log-linear regression with weekdays, trend and correlated errors (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", chapters 5, 7 and 10), averaged over possible changes by BIC';

/** The answer alone: `reached between 2027-02-14 and 2027-04-02 (90 %)`. */
export function headroomText(document: HeadroomDocument): string {
  const { state, reached, recorded, confidence, lacks } = document;
  const oneSided = formatShare((1 + confidence) / 2);
  if (state === 'not_within_a_year') return `not within a year of ${recorded.to} (${oneSided})`;
  if (reached === null)
    return lacks === 'days'
      ? `not known: ${recorded.days} of ${countOf(recorded.needed, 'day')}`
      : 'not known: no breaking point was found';
  const { from, to } = reached;
  if (to === null) return `not before ${from} (${oneSided}); when is not known`;
  if (recorded.to !== null && to <= recorded.to) return `already reached, by ${to}`;
  return `reached between ${from} and ${to} (${formatShare(confidence)})`;
}

/** What the answer rests on. */
export function headroomLines(document: HeadroomDocument): string[] {
  const { recorded, growth, capacity, changes, events, weeks } = document;
  const { days, needed, leftOut, earlier, from, to } = recorded;
  const monthly = (share: number) => `${share < 0 ? '−' : '+'}${formatShare(Math.abs(share))}`;
  const range = growth.interval90?.map(monthly).join(' to ');
  return linesOf(
    from !== null &&
      `demand: the hardest window of ${countOf(days, 'whole day')} from ${from} to ${to}${leftOut === 0 ? '' : `; ${countOf(leftOut, 'day')} recorded in part`}${earlier === 0 ? '' : `; ${countOf(earlier, 'earlier day')} not used`}`,
    capacity !== null &&
      `breaking point: ${formatMultiplier(capacity.low)}x ${capacity.high === null ? 'or more' : `to ${formatMultiplier(capacity.high)}x`}`,
    growth.source === 'set' &&
      `growth: ${monthly(growth.perMonth ?? 0)} a month, as set by --growth, not measured`,
    range !== undefined &&
      `growth: ${range} a month (90 %)${growth.isSure ? '' : ', so it is not known whether demand grows'}`,
    growth.source === 'set' && days < needed && 'each day may be like the busiest recorded one',
    changes.map(
      (each) =>
        `not taken for growth: ${each.to === null ? `a change on ${each.from}` : `${each.from} to ${each.to}`}`,
    ),
    events.map(({ day, times, counts }) => {
      const why =
        counts === 'recorded' ? ': recorded days have it' : counts === 'later' ? ': after the forecast' : '';
      return `event on ${day}: ${formatMultiplier(times)}x${why}`;
    }),
    weeks.from.length > 0 && days >= needed && `method: ${METHOD}`,
  );
}

/** Demand and its forecast by week, with the breaking point; null without a forecast. */
export function headroomChart({ weeks, days, capacity, growth }: HeadroomDocument) {
  const last = days.at(-1);
  if (weeks.from.length === 0 || last === undefined) return null;
  const secondOf = (day: string) => Date.parse(`${day}T00:00Z`) / 1e3;
  const recorded = days.map(({ demand }) => demand);
  const none = (values: readonly unknown[]) => values.map(() => null);
  const line = (label: string, values: readonly number[]) => ({ label, values: [...none(days), ...values] });
  return timeSeries({
    id: 'headroom',
    title: 'Demand and its forecast',
    unit: 'multiples of 1x',
    source: `the hardest window of each recorded day; the hardest day of each week to come, by ${growth.source} growth`,
    lookFor: 'when the upper line of the forecast reaches the breaking point',
    at: [...days.map(({ day }) => secondOf(day)), ...weeks.from.map(secondOf)],
    lines: [
      { label: 'recorded days', values: [...recorded, ...none(weeks.from)], isPoints: true },
      line('upper end (95 %)', weeks.p95),
      line('median', weeks.p50),
      line('lower end (5 %)', weeks.p5),
    ],
    ...(capacity !== null &&
      capacity.high !== null && {
        band: { label: 'breaking point (95 %)', from: capacity.low, to: capacity.high },
      }),
    timeZone: 'UTC',
  });
}
