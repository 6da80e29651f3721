import { linesOf } from '../../core/text.ts';
import { countOf, formatMultiplier, formatShare } from '../../core/units.ts';
import type { HeadroomDocument } from '../../documents/headroom.ts';
import { timeSeries } from '../render/charts.ts';
import { columnsOf, type Table } from '../render/table.ts';
import { DAYS_OF_WEEK, dayNumber } from './fit.ts';

const SECONDS_OF_DAY = 86_400;

const METHOD =
  'log-linear regression with weekdays, trend and correlated errors (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", chapters 5, 7 and 10), averaged over possible changes by BIC';

/** The answer alone: `reached between 2027-02-14 and 2027-04-02 (90 %)`. */
export function headroomText(document: HeadroomDocument): string {
  const { state, reached, recorded, confidence, lacks } = document;
  const oneSided = formatShare((1 + confidence) / 2);
  if (state === 'not_within_a_year') return `not reached within a year of ${recorded.to} (${oneSided})`;
  if (reached === null)
    return lacks === 'days'
      ? `not known: ${recorded.days} of ${countOf(recorded.needed, 'day')} that this needs are recorded`
      : 'not known: no breaking point was found';
  const { from, to } = reached;
  if (to === null) return `not reached before ${from} (${oneSided})`;
  if (recorded.to !== null && to <= recorded.to) return `already reached, by ${to}`;
  return `reached between ${from} and ${to} (${formatShare(confidence)})`;
}

/** The answer as a sentence; null if the breaking point is not known. */
export function headroomSentence(document: HeadroomDocument): string | null {
  const { state, lacks, growth } = document;
  const text = headroomText(document);
  if (lacks === 'breaking_point') return null;
  if (state === 'not_known') return `When demand reaches the breaking point is ${text}.`;
  if (growth.source === 'set')
    return `With ${monthly(growth.perMonth ?? 0)} a month, set and not measured, the breaking point is ${text}.`;
  return `${growth.isSure ? "At today's growth the" : 'The'} breaking point is ${text}.`;
}

function monthly(share: number): string {
  return `${share < 0 ? '−' : '+'}${formatShare(Math.abs(share))}`;
}

/** The answer, and what it rests on. */
export function headroomTable(document: HeadroomDocument): Table {
  const { recorded, growth, capacity, changes, events, weeks } = document;
  const { days, needed, leftOut, earlier, from, to } = recorded;
  const range = growth.interval90?.map(monthly).join(' to ');
  const rows: (readonly [name: string, value: string] | false)[] = [
    ['when demand reaches it', headroomText(document)],
    capacity !== null && [
      'breaking point (95 %)',
      `${formatMultiplier(capacity.low)}x ${capacity.high === null ? 'or more' : `to ${formatMultiplier(capacity.high)}x`}`,
    ],
    [
      'demand',
      linesOf(
        `the hardest window of ${countOf(days, 'whole day')}${from === null ? '' : ` from ${from} to ${to}`}`,
        leftOut > 0 && `${countOf(leftOut, 'day')} recorded in part`,
        earlier > 0 && `${countOf(earlier, 'earlier day')} not used`,
      ).join('; '),
    ],
    growth.source === 'set' && [
      'growth a month',
      `${monthly(growth.perMonth ?? 0)}, set by --growth and not measured${days < needed ? '; each day may be like the busiest one' : ''}`,
    ],
    range !== undefined && [
      'growth a month (90 %)',
      `${range}${growth.isSure ? '' : ': it is not known whether demand grows'}`,
    ],
    ...changes.map((each) => ['not taken for growth', changeText(each)] as const),
    ...events.map((each) => [`event on ${each.day}`, eventText(each)] as const),
    weeks.from.length > 0 && days >= needed && ['method', METHOD],
  ];
  return {
    title: 'When demand reaches the breaking point',
    unit: 'multiples of 1x',
    source: 'the hardest window of each recorded day',
    lookFor: 'the earlier of both days: plan with it',
    columns: columnsOf(['', 'value'], []),
    rows: rows.filter((row) => row !== false),
  };
}

function changeText({ from, to }: HeadroomDocument['changes'][number]): string {
  if (to === null) return `a lasting change on ${from}`;
  return from === to ? from : `${from} to ${to}`;
}

function eventText({ times, counts }: HeadroomDocument['events'][number]): string {
  const why = { forecast: '', recorded: ': recorded days have it', later: ': after the forecast' };
  return `${formatMultiplier(times)}x${why[counts]}`;
}

/** The hardest day of each week, recorded and forecast, with the breaking point; null without a forecast. */
export function headroomChart({ weeks, days, capacity, growth }: HeadroomDocument) {
  const [first] = weeks.from;
  if (first === undefined) return null;
  const recorded = new Map<number, number>();
  for (const { day, demand } of days) {
    const week = Math.floor((dayNumber(day) - dayNumber(first)) / DAYS_OF_WEEK);
    recorded.set(week, Math.max(recorded.get(week) ?? 0, demand));
  }
  const before = [...recorded.keys()].map((week) => dayNumber(first) + week * DAYS_OF_WEEK);
  const none = (values: readonly unknown[]) => values.map(() => null);
  const line = (label: string, values: readonly number[]) => ({
    label,
    values: [...none(before), ...values],
  });
  return timeSeries({
    id: 'headroom',
    title: 'Demand and its forecast',
    unit: 'multiples of 1x',
    source: `the hardest day of each week, and of each week to come by ${growth.source} growth`,
    lookFor: 'when the upper line of the forecast reaches the breaking point',
    at: [...before, ...weeks.from.map(dayNumber)].map((day) => day * SECONDS_OF_DAY),
    lines: [
      { label: 'recorded', values: [...recorded.values(), ...none(weeks.from)], isPoints: true },
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
