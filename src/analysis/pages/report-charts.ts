import { formatMs } from '../../core/units.ts';
import { IDC_WINDOWS } from '../../documents/parts.ts';
import type { ArrivalFigures } from '../../documents/replay.ts';
import type { PercentileLadder, ReportDocument } from '../../documents/report.ts';
import { arrivalStreams } from '../report/fidelity-tables.ts';
import { numberText } from '../report/value-text.ts';
import { bars } from './bars.ts';
import { escaped } from './escape.ts';
import { figure } from './figure.ts';
import { heatMap } from './heat-map.ts';
import { percentileCurve } from './percentile-curve.ts';

/** Every fourth column is named: more would not fit. */
const NAMED = 4;

/** Percentiles as curves: scheduled beside service, and what was recorded. */
export function latencyCurve({ latencyMs }: ReportDocument): string {
  const { scheduled, service, recorded } = latencyMs;
  if (scheduled.count === 0) return '';
  const line = (label: string, { steps }: PercentileLadder) => ({
    label,
    points: steps.map(({ percent, ms, enough }) => ({ percent, value: ms, trusted: enough })),
  });
  return figure(
    {
      title: 'Latency distribution',
      unit: 'ms or s, on a logarithmic scale; each step to the right is a rarer request',
      source: 'scheduled: from the intended send; service: from the actual send; completed requests',
      lookFor:
        'two curves that part: the time between them is waiting before the send. A knee: the share of requests beyond it meets another bottleneck',
    },
    percentileCurve({
      lines: [
        line('scheduled', scheduled),
        line('service', service),
        ...(recorded === null ? [] : [line('as recorded', recorded)]),
      ],
      text: formatMs,
      description: 'latency by percentile',
    }),
  );
}

/** How latency is spread at each time: two bands are two kinds of answers, which a percentile over time hides. */
export function latencyMapFigure({ latencyMap }: ReportDocument): string {
  const { at, classes, columnS } = latencyMap;
  if (classes.length === 0) return '';
  const slowestFirst = classes.toReversed();
  return figure(
    {
      title: 'Spread of latency over time',
      unit: `share of the requests of a column (${formatMs(columnS * 1e3)} each) in a class; classes double from row to row`,
      source:
        'scheduled latency of completed requests, by intended send; the time above a column is that since the start of the run',
      lookFor: 'a band that splits (a cache, a queue, two models) or climbs (a queue that grows)',
    },
    heatMap({
      rows: slowestFirst.map(({ toMs }) => `≤ ${roundMs(toMs)}`),
      columns: at.map((second, column) => (column % NAMED === 0 ? sinceStart(second) : '')),
      values: slowestFirst.flatMap(({ shares }) => shares),
      text: (share) => `${numberText(share * 100)} %`,
      description: 'shares of requests by time and latency',
      labelWidth: 68,
    }),
  );
}

/** Dispersion of counts by window, for each stream of arrivals. */
export function dispersionFigure({ summary }: ReportDocument): string {
  if (summary === null) return '';
  const { streams, due } = arrivalStreams(summary.fidelity);
  const list = (figures: ArrivalFigures) =>
    IDC_WINDOWS.filter((window) => figures.idc[window] !== null).map((window) => ({
      label: `${window} s`,
      // Dispersion spans magnitudes: bars show its logarithm, the text the value.
      value: Math.log10(1 + (figures.idc[window] ?? 0)),
      text: numberText(figures.idc[window]),
    }));
  const colours = { recorded: 'three', planned: 'two', 'came due': 'four', sent: 'one' } as const;
  const parts = streams.map(({ name, figures }) => [name, list(figures), colours[name]] as const);
  if (parts.every(([, each]) => each.length === 0)) return '';
  return figure(
    {
      title: 'Index of dispersion',
      unit: 'variance over mean of counts; 1 is random traffic',
      source: 'counts in windows of 0.1 to 600 s; left out below 20 windows; bars on a logarithmic scale',
      lookFor: `${due.name} and sent alike; growth with the window means slow swings that an autoscaler must follow`,
    },
    parts
      .filter(([, each]) => each.length > 0)
      .map(([name, each, colour]) => `<p class="legend">${escaped(name)}</p>${bars(each, colour)}`)
      .join(''),
  );
}

/** Bounds of classes are powers of two over sixteen: as short as a row of the map has room for. */
function roundMs(ms: number): string {
  if (ms < 1_000) return `${Number(ms.toPrecision(2))} ms`;
  return ms < 120_000 ? `${Number((ms / 1e3).toPrecision(2))} s` : `${Math.round(ms / 60_000)} min`;
}

function sinceStart(second: number): string {
  if (second < 120) return `${Number(second.toFixed(1))}s`;
  return second < 7_200 ? `${Math.floor(second / 60)}m` : `${Math.floor(second / 3_600)}h`;
}
