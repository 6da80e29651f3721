import type { Objective } from '../../documents/metrics/objectives.ts';
import type { MonitoredSeries, MonitorsDocument } from '../../documents/monitors.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import { bytesText, columnsOf, msText, NONE, numberText, shareText, type Table } from '../render/table.ts';
import { asksForMore } from './objective-steps.ts';

/** The monitored series, with those of the generator last; null without any. */
export function monitorTable({ monitors }: ReplayDocument): Table | null {
  const series = monitors?.series ?? [];
  if (series.length === 0) return null;
  const hasRecorded = series.some(({ recorded }) => recorded !== null);
  return {
    title: 'Monitored beside the load',
    unit: 'as stated; for counters the rate per second, and the growth over the run',
    source:
      'readings during the judged part of the run; a counter between the readings right before and after it',
    lookFor: `a figure near its limit while latency rises: that is the bottleneck. Missing values are unknown${hasRecorded ? '. Recorded is the same query over the window that was replayed' : ''}`,
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
    rows: targetFirst(series).map((each) => {
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

/** Sentences on failures of monitors, and on series and values that were not kept. */
export function monitorLines(monitors: MonitorsDocument | undefined): string[] {
  const { sources = [], notes = [], shardsWithout = [] } = monitors ?? {};
  const more = sources.flatMap(({ name, off, looks, failed, lastError, beyond, unstored, ageMs }) => [
    ...(off === null ? [] : [`monitor ${name} was switched off: ${off}`]),
    ...(off !== null || failed === 0
      ? []
      : [`monitor ${name}: ${failed} of ${looks} readings failed, the last: ${lastError}`]),
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

/** The most charts on a page, one for each name, and the most lines in a chart that can be distinguished. */
const MOST_CHARTS = 12;
const MOST_LINES = 6;

type Line = Pick<MonitoredSeries, 'name' | 'source' | 'labels' | 'kind' | 'unit'> & {
  readonly values: readonly (number | null)[];
};

/**
 * A chart for each name, with a line for each of its series. If there are many, only the worst are drawn. The
 * generator's series have no chart.
 * @param objective an objective to show: its series come first, even if they are the generator's
 */
export function monitorCharts<Each extends Line, Texts extends { readonly source: string }>(
  monitored: readonly Each[],
  textsOf: (name: string, lines: readonly Each[]) => Texts,
  objective: Pick<Objective, 'series' | 'operator'> | null = null,
) {
  const isShown = ({ name }: Each) => name === objective?.series;
  const sorted = [...monitored.filter(isShown), ...monitored.filter((each) => !isShown(each))];
  const byName = Map.groupBy(
    sorted.filter((each) => isShown(each) || isOfTarget(each)),
    ({ name }) => name,
  );
  return [...byName].slice(0, MOST_CHARTS).map(([name, lines]) => {
    const texts = textsOf(name, lines);
    const more = lines.length - MOST_LINES;
    return {
      ...texts,
      source: more > 0 ? `${texts.source}; the worst, ${more} more series are in the document` : texts.source,
      isShown: lines.some(({ values }) => values.some((value) => value !== null)),
      id: monitorId(name),
      title: `Monitored: ${name}`,
      unit: axisOf(lines[0]!),
      lines: worstOf(lines, name === objective?.series ? objective : null).map((line) => ({
        label: `${line.source}${labelsText(line)}`,
        values: line.values,
      })),
    };
  });
}

/**
 * The lines with the worst values: the greatest, or the least if the objective asks for more. All lines in order if
 * they fit.
 */
function worstOf<Each extends Line>(
  lines: readonly Each[],
  objective: Pick<Objective, 'operator'> | null,
): readonly Each[] {
  if (lines.length <= MOST_LINES) return lines;
  const sign = objective !== null && asksForMore(objective) ? -1 : 1;
  const worst = ({ values }: Each) =>
    values.reduce<number>(
      (most, value) => (value === null ? most : Math.max(most, sign * value)),
      Number.NEGATIVE_INFINITY,
    );
  return lines
    .map((line) => ({ line, badness: worst(line) }))
    .toSorted((a, b) => (a.badness < b.badness ? 1 : a.badness > b.badness ? -1 : 0))
    .slice(0, MOST_LINES)
    .map(({ line }) => line);
}

export function monitorId(name: string): string {
  return `monitor-${name.replaceAll('_', '-')}`;
}

function axisOf({ kind, unit }: Pick<MonitoredSeries, 'kind' | 'unit'>): string {
  if (kind !== 'counter') return unit;
  return unit === 's' ? 'cores' : `${unit}/s`;
}

/** Older values do not describe the second in which they were read. */
const OLD_MS = 2_000;

/** Series of the target, then those of the generator. */
export function targetFirst<Series extends { readonly name: string }>(series: readonly Series[]): Series[] {
  return [...series.filter(isOfTarget), ...series.filter((each) => !isOfTarget(each))];
}

export function isOfTarget({ name }: { readonly name: string }): boolean {
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
  return resets === 0 ? text : `${text}, began again ${numberText(resets)}x`;
}

/** A value in the unit of its series. CPU seconds per second are cores. */
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
