import { formatMs, formatMultiplier } from '../../core/units.ts';
import type { MonitoredLine, PercentileLadder, ReportDocument } from '../../documents/report.ts';
import { dispersionBars, drawnSeries, heatMap, percentileCurve } from '../render/charts.ts';
import {
  type ChartMark,
  escaped,
  facts,
  figure,
  findingList,
  type PageAssets,
  section,
  tableSection,
  viewPage,
} from '../render/html.ts';
import { msText, numberText, type Section, shareText } from '../render/table.ts';
import { arrivalStreams } from './conditions.ts';
import { stepText } from './latency.ts';
import { labelsText } from './monitors.ts';
import { reportView, type SectionKey } from './view.ts';

/** The report as one page to read, to print and to hand on: the verdict and what to do about it first. */
export function reportPage(document: ReportDocument, assets: PageAssets): string {
  const series = reportSeries(document);
  const view = reportView(document);
  const [objectives, ...others] = view.sections.map((each) => drawnSection(each, document));
  const body = [
    factsOf(document),
    objectives ?? '',
    section('Over time', series.map(({ html }) => html).join('')),
    ...others,
    notesOf(document),
  ];
  return viewPage(view, `Load test report: ${document.verdict ?? 'no verdict'}`, body, series, assets);
}

function factsOf({ run, counts, latencyMs, streams, summary, overTime }: ReportDocument): string {
  const busiest = overTime.offered.reduce((most, count) => Math.max(most, count / overTime.stepS), 0);
  const { scheduled } = latencyMs;
  return facts([
    [
      'multiplier',
      run.multiplier === null ? '–' : `${formatMultiplier(run.multiplier)}x ${run.scaling ?? ''}`,
    ],
    ['sent', numberText(counts.sent)],
    ['mean rate sent', run.durationS === 0 ? '–' : `${numberText(counts.sent / run.durationS)}/s`],
    ['busiest step offered', `${numberText(busiest)}/s`],
    [
      'failed',
      `${numberText(counts.failed)} (${shareText(counts.sent === 0 ? null : counts.failed / counts.sent)})`,
    ],
    ['refused', numberText(counts.refused)],
    ['latency p50', stepText(scheduled, 50)],
    ['latency p99', stepText(scheduled, 99)],
    ...(streams.ttft.count === 0 ? [] : [['TTFT p95', stepText(streams.ttft, 95)] as const]),
    ['in flight, most', numberText(overTime.inFlight.reduce((most, each) => Math.max(most, each), 0))],
    ['lag p99', summary?.lagUs.p99 == null ? '–' : formatMs(summary.lagUs.p99 / 1e3)],
    ['lasted', msText(run.durationS * 1e3)],
  ]);
}

function drawnSection(each: Section<SectionKey>, document: ReportDocument): string {
  if (each.key === 'latency') return tableSection(each, latencyCurve(document), latencyMapFigure(document));
  return tableSection(each, '', each.key === 'fidelity' ? dispersionFigure(document) : '');
}

function notesOf({ notes, run }: ReportDocument): string {
  const made = run.version === null ? '' : ` The run was made by version ${run.version}.`;
  return section(
    'Notes',
    `${findingList(notes)}<p class="soft">${escaped(`Percentiles are good to 0.1 %; unknown values are shown as “–”. The page holds names of routes and models, and no payload.${made}`)}</p>`,
  );
}

/** When dependencies failed by plan. */
function faultMarks(summary: ReportDocument['summary'], startS: number): ChartMark[] {
  const faults = summary?.faults?.faults ?? [];
  return faults.map(({ name, fromS, toS }) => ({ label: name, from: startS + fromS, to: startS + toS }));
}

/** What happened over time: load, requests in flight, latency, failures, our own lateness. */
function reportSeries({ overTime, run, summary, monitored = [] }: ReportDocument) {
  // A run that was not sealed does not say when it began: its times count from 1970, and the page says so.
  const startS = run.startedAt === null ? 0 : Date.parse(run.startedAt) / 1e3;
  const at = overTime.at.map((second) => startS + second);
  const marks = faultMarks(summary, startS);
  const marked = marks.length === 0 ? '' : `; grey: ${marks.map(({ label }) => label).join(', ')}`;
  const clock = run.startedAt === null ? '; times count from the start of the run' : '';
  const steps = `in steps of ${formatMs(overTime.stepS * 1e3)}${clock}`;
  const warmup = run.warmupS === 0 ? '' : `; the first ${formatMs(run.warmupS * 1e3)} are warm-up`;
  const samples = overTime.samples.filter((count) => count > 0).sort((a, b) => a - b);
  const typical = samples[Math.floor(samples.length / 2)] ?? 0;
  const few = typical < 130 ? '. With so few requests in a step its p99 is the slowest of them' : '';
  const perSecond = (counts: readonly number[]) => counts.map((count) => count / overTime.stepS);
  const charts = [
    {
      isShown: true,
      id: 'load',
      title: 'Offered, sent and completed over time',
      unit: 'requests/s',
      source: `offered by intended instant, sent by actual instant, completed by last byte, ${steps}; the last step may be shorter${warmup}`,
      lookFor:
        'completed that stays under offered: the target is over its limit there. Sent under offered: our side was',
      lines: [
        { label: 'offered', values: perSecond(overTime.offered) },
        { label: 'sent', values: perSecond(overTime.sent) },
        { label: 'completed', values: perSecond(overTime.completed) },
      ],
    },
    {
      isShown: true,
      id: 'in-flight',
      title: 'Requests in flight over time',
      unit: 'requests',
      source: `requests that were sent and had not ended, the most at the end of a second, ${steps}`,
      lookFor: 'a climb that does not come down: a queue that grows as long as the load lasts',
      lines: [{ label: 'in flight', values: overTime.inFlight }],
    },
    {
      isShown: samples.length > 0,
      id: 'latency',
      title: 'Latency over time',
      unit: 'ms',
      source: `completed requests by intended send, ${steps}; half of the steps have ${typical.toLocaleString('en')} or more${marked}`,
      marks,
      lookFor: `latency that follows the load, and how long it takes to come down after a peak${few}`,
      lines: [
        { label: 'p50', values: overTime.p50Ms },
        { label: 'p95', values: overTime.p95Ms },
        { label: 'p99', values: overTime.p99Ms },
        { label: 'p99 service', values: overTime.serviceP99Ms },
      ],
    },
    ...monitorCharts(monitored, steps),
    {
      isShown: [...overTime.failed, ...overTime.refused].some((count) => count > 0),
      id: 'trouble',
      title: 'Failed and refused over time',
      unit: 'requests/s',
      source: `failed by the instant it was noticed, refused by intended instant, ${steps}${marked}`,
      marks,
      lookFor: 'failures at peaks (capacity) or alone (faults); refused: our own cap',
      lines: [
        { label: 'failed', values: perSecond(overTime.failed) },
        { label: 'refused', values: perSecond(overTime.refused) },
      ],
    },
    {
      isShown: overTime.lagMaxMs.some((value) => value !== null),
      id: 'lag',
      title: 'Schedule lag over time',
      unit: 'ms',
      source: `the latest send of a step, actual minus intended, ${steps}`,
      lookFor: 'peaks where latency has peaks: that latency is our lateness and not the target’s',
      lines: [{ label: 'greatest lag', values: overTime.lagMaxMs }],
    },
  ];
  return drawnSeries(charts, at);
}

/** A chart for each name, and no more lines in it than can be told apart. */
const MOST_CHARTS = 12;
const MOST_LINES = 6;

/** What monitors saw, on the time axis of the latency. */
function monitorCharts(monitored: readonly MonitoredLine[], steps: string) {
  const shown = monitored.filter(({ name }) => !name.startsWith('generator_'));
  const byName = [...Map.groupBy(shown, ({ name }) => name)].slice(0, MOST_CHARTS);
  return byName.map(([name, lines]) => ({
    isShown: lines.some(({ values }) => values.some((value) => value !== null)),
    id: `monitor-${name.replaceAll('_', '-')}`,
    title: `Monitored: ${name}`,
    unit: monitorUnit(lines[0]),
    source: `${[...new Set(lines.map(({ metric }) => metric))].join(', ')}; the greatest of a step, ${steps}${lines.length > MOST_LINES ? `; ${lines.length - MOST_LINES} more series are in the document` : ''}`,
    lookFor: 'what reaches its limit when latency begins to rise. A gap: nothing is known there',
    lines: lines.slice(0, MOST_LINES).map((line) => ({
      label: `${line.source}${labelsText(line)}`,
      values: line.values,
    })),
  }));
}

function monitorUnit(line: MonitoredLine | undefined): string {
  if (line === undefined || line.kind !== 'counter') return line?.unit ?? '';
  return line.unit === 's' ? 'cores' : `${line.unit}/s`;
}

/** Every fourth column is named: more would not fit. */
const NAMED = 4;

/** Percentiles as curves: scheduled beside service, and what was recorded. */
function latencyCurve({ latencyMs }: ReportDocument): string {
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
function latencyMapFigure({ latencyMap }: ReportDocument): string {
  const { at, classes, columnS } = latencyMap;
  if (classes.length === 0) return '';
  const slowestFirst = classes.toReversed();
  return figure(
    {
      title: 'Spread of latency over time',
      unit: `share of the requests of a column (${formatMs(columnS * 1e3)} each) in a class; classes double from row to row`,
      source:
        'scheduled latency of completed requests, by intended send; times above the columns count from the start of the run',
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
function dispersionFigure({ summary }: ReportDocument): string {
  if (summary === null) return '';
  const { streams, due } = arrivalStreams(summary.fidelity);
  const colours = { recorded: 'three', planned: 'two', 'came due': 'four', sent: 'one' } as const;
  const parts = streams
    .map(({ name, figures }) => ({ name, drawn: dispersionBars(figures.idc, colours[name]) }))
    .filter(({ drawn }) => drawn !== '');
  if (parts.length === 0) return '';
  return figure(
    {
      title: 'Index of dispersion',
      unit: 'variance over mean of counts; 1 is random traffic',
      source: 'counts in windows of 0.1 to 600 s; left out below 20 windows; bars on a logarithmic scale',
      lookFor: `${due.name} and sent alike; growth with the window means slow swings that an autoscaler must follow`,
    },
    parts.map(({ name, drawn }) => `<p class="legend">${escaped(name)}</p>${drawn}`).join(''),
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
