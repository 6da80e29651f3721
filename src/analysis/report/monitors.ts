import type { MonitoredSeries, MonitorsDocument } from '../../documents/monitors.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import { bytesText, columnsOf, msText, NONE, numberText, shareText, type Table } from '../render/table.ts';

/** What monitors saw beside the load, the generator last; null where nothing was seen. */
export function monitorTable({ monitors }: ReplayDocument): Table | null {
  const series = monitors?.series ?? [];
  if (series.length === 0) return null;
  const hasRecorded = series.some(({ recorded }) => recorded !== null);
  return {
    title: 'Monitored beside the load',
    unit: 'as stated; of counters the rate a second, and over the whole run what they grew by',
    source: 'looks during the judged part of the run; a counter between the looks right before and after it',
    lookFor: `a figure near its limit while latency rises: it is what gives first. Values that are missing are not known${hasRecorded ? '. Recorded is the same query over the window that was replayed' : ''}`,
    columns: columnsOf(
      ['series', 'from'],
      [
        'p50',
        'p95',
        'max',
        'over the run',
        'values',
        'missing',
        ...(hasRecorded ? ['recorded p95', 'recorded max'] : []),
      ],
    ),
    rows: [...series.filter(isOfTarget), ...series.filter((each) => !isOfTarget(each))].map((each) => {
      const text = (value: number | null | undefined) => valueText(each, value);
      return [
        `${each.name}${labelsText(each)}`,
        each.source,
        ...[each.p50, each.p95, each.max].map(text),
        changeText(each),
        numberText(each.samples),
        numberText(each.missing),
        ...(hasRecorded ? [text(each.recorded?.p95), text(each.recorded?.max)] : []),
      ];
    }),
  };
}

/** What went wrong with monitors, and what of them is not here; each a sentence. */
export function monitorLines(monitors: MonitorsDocument | undefined): string[] {
  const { sources = [], notes = [], shardsWithout = [] } = monitors ?? {};
  const more = sources.flatMap(({ name, off, looks, failed, lastError, beyond, unstored, ageMs }) => [
    ...(off === null ? [] : [`monitor ${name} was switched off: ${off}`]),
    ...(off !== null || failed === 0
      ? []
      : [`monitor ${name}: ${failed} of ${looks} looks failed, the last: ${lastError}`]),
    ...(beyond === 0
      ? []
      : [`monitor ${name}: ${numberText(beyond)} series over the limit of a source are not kept`]),
    ...(unstored === 0
      ? []
      : [`monitor ${name}: ${numberText(unstored)} values over the limit of a run are not kept`]),
    ...((ageMs.max ?? 0) < OLD_MS
      ? []
      : [`monitor ${name}: values were up to ${msText(ageMs.max)} old when they were read`]),
  ]);
  const without = shardsWithout.length === 0 ? [] : [`shards without monitors: ${shardsWithout.join(', ')}`];
  return [...more, ...notes, ...without];
}

/** Older values say little of the second in which they were read. */
const OLD_MS = 2_000;

function isOfTarget({ name }: MonitoredSeries): boolean {
  return !name.startsWith('generator_');
}

export function labelsText({ labels }: Pick<MonitoredSeries, 'labels'>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function changeText({ kind, unit, change, resets }: MonitoredSeries): string {
  if (kind === 'gauge' || change === null) return NONE;
  const text =
    unit === 's' && kind === 'counter'
      ? `${numberText(change)} s`
      : valueText({ kind: 'gauge', unit }, change);
  return resets === 0 ? text : `${text}, began anew ${numberText(resets)}x`;
}

/** In the unit of its series; seconds a second of CPU time are cores. */
export function valueText(
  { kind, unit }: Pick<MonitoredSeries, 'kind' | 'unit'>,
  value: number | null | undefined,
): string {
  if (value == null) return NONE;
  const rate = kind === 'counter' ? '/s' : '';
  if (unit === 'share') return shareText(value);
  if (unit === 'bytes') return `${bytesText(value)}${rate}`;
  if (unit === 's') return kind === 'counter' ? `${numberText(value)} cores` : msText(value * 1e3);
  if (unit === 'W') return `${numberText(value)} W`;
  return `${numberText(value)}${rate}`;
}
