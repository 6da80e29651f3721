import { zonedTime } from '../../core/calendar.ts';
import { formatMs } from '../../core/units.ts';
import { objectiveOf } from '../../documents/metrics/objectives.ts';
import { PERCENTS } from '../../documents/percentiles.ts';
import type { ObjectiveLine } from '../../documents/replay.ts';
import type { PercentileLadder, ReportDocument } from '../../documents/report.ts';
import { dispersionFigure, heatMap, percentileCurve } from '../render/charts.ts';
import {
  figure,
  type PageAssets,
  type Part,
  type Tile,
  tablesPart,
  tilesOf,
  viewPage,
} from '../render/html.ts';
import { msText, numberText, type Section, shareText } from '../render/table.ts';
import { arrivalStreams } from './conditions.ts';
import { stepText } from './latency.ts';
import { nistSection } from './nist.ts';
import { percentOf } from './objective-steps.ts';
import { judgedFailures, stateOf, stateText, valueText } from './requests.ts';
import { clockOf, type RunClock, recordedMs, reportSeries, timesOf } from './series.ts';
import { reportView, type SectionKey, sentPerSecond } from './view.ts';

/**
 * The report as a page to read, print and share. The first screen has the verdict, objectives and latency. Advice
 * follows, then all other parts, collapsed.
 */
export function reportPage(document: ReportDocument, assets: PageAssets, timeZone = 'UTC'): string {
  const clock = clockOf(document, timeZone);
  const { first, others: series } = reportSeries(document, clock);
  const view = reportView(document, timeZone);
  const [objectives, ...others] = view.sections.map((each) => drawnSection(each, document, clock));
  return viewPage(
    view,
    {
      title: `Load test report: ${document.verdict ?? 'no verdict'}`,
      first: tilesOf(reportTiles(document)) + first.map(({ html }) => html).join(''),
      parts: [
        ...(objectives === undefined ? [] : [objectives]),
        { id: 'over-time', title: 'Over time', html: series.map(({ html }) => html).join(''), isOpen: true },
        ...others,
      ],
      appendix: document.nist == null ? [] : [tablesPart(nistSection(document.nist))],
      charts: [...first, ...series],
      timeZone,
    },
    assets,
  );
}

/** Tiles for objectives with observed values, or for the usual figures if there are none. The load is the last tile. */
function reportTiles(document: ReportDocument): Tile[] {
  const { slo, latencyMs, counts, errors, summary } = document;
  const { recorded } = latencyMs;
  const sent = sentPerSecond(document);
  const load: Tile = {
    label: 'load sent',
    value: sent === null ? '–' : `${numberText(sent)}/s`,
    note: counts.planned ? `${shareText(counts.sent / counts.planned)} of the plan` : 'the plan is not known',
  };
  if (slo.length > 0) return [...objectiveTiles(document), load];
  const latencies = PERCENTS.map((percent) => ({
    label: `latency p${percent}`,
    value: stepText(judgedLatency(document), percent),
    note: recorded === null ? '' : `recorded ${stepText(recorded, percent)}`,
  }));
  const stopped = errors.find(({ kind }) => kind === 'stopped')?.requests ?? 0;
  const { failed, share } = judgedFailures(counts, { stopped }, summary ?? { interrupted: null });
  return [
    ...latencies,
    { label: 'failed', value: shareText(share), note: `${numberText(failed)} requests` },
    load,
  ];
}

/** The most tiles of objectives. One tile is for the load. */
const MOST_OBJECTIVES = 5;
const TONES = ['bad', 'warn', 'good'] as const;

/** The state as in the table of objectives, which includes undecided ones. */
function tileState(line: ObjectiveLine, document: ReportDocument) {
  const state = stateOf(line, document);
  const tone = state === 'kept' ? 'good' : state === 'violated' ? 'bad' : 'warn';
  return { tone, word: stateText(line, document).toLowerCase() } as const;
}

/**
 * Tiles with violated objectives first. If there are too many, the last tile sums up the others, with their worst
 * state.
 */
function objectiveTiles(document: ReportDocument): Tile[] {
  const { slo } = document;
  const rank = (line: ObjectiveLine) => TONES.indexOf(tileState(line, document).tone);
  const sorted = slo.toSorted((a, b) => rank(a) - rank(b));
  const shown = sorted.length <= MOST_OBJECTIVES ? sorted : sorted.slice(0, MOST_OBJECTIVES - 1);
  const [worst, ...others] = sorted.slice(shown.length);
  const tiles = shown.map((line) => objectiveTile(line, document));
  if (worst === undefined) return tiles;
  const alike = others.filter((line) => rank(line) === rank(worst)).length + 1;
  const more: Tile = {
    label: 'objectives',
    value: `and ${numberText(others.length + 1)} more`,
    state: tileState(worst, document),
    note: `${numberText(alike)} of these; see the table below`,
  };
  return [...tiles, more];
}

function objectiveTile(line: ObjectiveLine, document: ReportDocument): Tile {
  const objective = objectiveOf(line.expression);
  const before = objective && recordedMs(document, { line, objective }, percentOf(objective));
  return {
    label: line.expression,
    value: valueText(line, line.observed),
    state: tileState(line, document),
    note: `limit ${valueText(line, line.limit)}${before == null ? '' : `; recorded ${msText(before)}`}`,
  };
}

/** The latency that is judged. A closed loop has no planned instants, so it has only service latency. */
function judgedLatency({ latencyMs, summary }: ReportDocument): PercentileLadder {
  return summary?.closedLoop === undefined ? latencyMs.scheduled : latencyMs.service;
}

/** Figures before and after the tables of a section. */
const FIGURES: Partial<Record<SectionKey, (document: ReportDocument, clock: RunClock) => [string, string]>> =
  {
    latency: (document, clock) => [latencyCurve(document), latencyMapFigure(document, clock)],
    fidelity: (document) => ['', dispersionOf(document)],
  };

function drawnSection(each: Section<SectionKey>, document: ReportDocument, clock: RunClock): Part {
  const [before, after] = FIGURES[each.key]?.(document, clock) ?? ['', ''];
  return { ...tablesPart(each, before, after), isOpen: before !== '' };
}

/** Every fourth column has a label, because more do not fit. */
const NAMED = 4;

const APART = 'two curves that part: the difference is waiting before the send. ';

/** Percentiles as curves: scheduled and service latency, and recorded latency. */
function latencyCurve({ latencyMs, summary }: ReportDocument): string {
  const { scheduled, service, recorded } = latencyMs;
  const isPlanned = summary?.closedLoop === undefined;
  if (!service.steps.some(({ enough }) => enough)) return '';
  const line = (label: string, { steps }: PercentileLadder) => ({
    label,
    points: steps.map(({ percent, ms, enough }) => ({ percent, value: ms, trusted: enough })),
  });
  return figure(
    {
      title: 'Latency distribution',
      unit: 'ms or s, on a logarithmic scale; each step to the right is a rarer request',
      source: `${isPlanned ? 'scheduled: from the intended send; ' : ''}service: from the actual send; completed requests; percentiles with too few samples are left out`,
      lookFor: `${isPlanned ? APART : ''}A knee: requests beyond it meet another bottleneck`,
    },
    percentileCurve({
      lines: [
        ...(isPlanned ? [line('scheduled', scheduled)] : []),
        line('service', service),
        ...(recorded === null ? [] : [line('as recorded', recorded)]),
      ],
      text: formatMs,
      description: 'latency by percentile',
    }),
  );
}

/** The distribution of latency over time. Two bands mean two kinds of answers; a percentile over time hides this. */
function latencyMapFigure(document: ReportDocument, clock: RunClock): string {
  const { latencyMap } = document;
  const { at, classes, columnS } = latencyMap;
  // One column shows nothing over time.
  if (classes.length === 0 || at.length < 2) return '';
  const slowestFirst = classes.toReversed();
  return figure(
    {
      title: 'Spread of latency over time',
      unit: `share of the requests of a column (${formatMs(columnS * 1e3)} each) in a class; classes double from row to row`,
      source: `${timesOf(document)} of completed requests, by intended send`,
      lookFor: 'a band that splits (a cache, a queue, two models) or climbs (a queue that grows)',
    },
    heatMap({
      rows: slowestFirst.map(({ toMs }) => `≤ ${roundMs(toMs)}`),
      columns: at.map((second, column) => (column % NAMED === 0 ? columnName(second, clock) : '')),
      values: slowestFirst.flatMap(({ shares }) => shares),
      text: (share) => `${numberText(share * 100)} %`,
      description: 'shares of requests by time and latency',
      labelWidth: 68,
    }),
  );
}

/** Dispersion of counts by window, for each stream of arrivals. */
function dispersionOf({ summary }: ReportDocument): string {
  if (summary === null) return '';
  const { streams, due } = arrivalStreams(summary.fidelity);
  return dispersionFigure(
    streams.map(({ name, figures }) => ({ name, idc: figures.idc })),
    `${due.name} and sent alike; growth with the window means slow swings that an autoscaler must follow`,
  );
}

/** A class limit in a short form that fits the row of the map. Limits are powers of two divided by 16. */
function roundMs(ms: number): string {
  if (ms < 1_000) return `${Number(ms.toPrecision(2))} ms`;
  return ms < 120_000 ? `${Number((ms / 1e3).toPrecision(2))} s` : `${Math.round(ms / 60_000)} min`;
}

/** The time of day at the start of a column. */
function columnName(second: number, { startS, timeZone, x }: RunClock): string {
  return x === undefined ? zonedTime((startS + second) * 1e3, timeZone).slice(11) : `${second} s`;
}
