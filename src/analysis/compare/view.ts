import type {
  ComparedMetric,
  ComparedSide,
  ComparisonDocument,
  ComparisonVerdict,
  ShiftedFigure,
} from '../../documents/comparison.ts';
import { ratioPlot, timeSeries } from '../render/charts.ts';
import { figure, findingList, type PageAssets, section, tableSection, viewPage } from '../render/html.ts';
import {
  columnsOf,
  figureText,
  latencyText,
  NONE,
  pointsText,
  ratioText,
  sectionOf,
  shareText,
  type Table,
  type View,
} from '../render/table.ts';

/** A comparison as people read it. */
export function comparisonView(document: ComparisonDocument): View {
  const { verdict, reasons, notes, a, b } = document;
  const pairs = pairsText(document);
  return {
    title: 'Comparison',
    ...{ verdict, reasons, notes },
    tone: TONES[verdict],
    headline: verdictSentence(document),
    lines: [`A: ${sideText(a)}`, `B: ${sideText(b)}`, ...(pairs === '' ? [] : [pairs])],
    sections: [sectionOf('metrics', 'Metrics', [metricTable(document)])],
  };
}

const TONES: Readonly<Record<ComparisonVerdict, View['tone']>> = {
  BETTER: 'good',
  SAME: 'good',
  WORSE: 'bad',
  INCONCLUSIVE: 'warn',
};

function metricTable({ compares, metrics }: ComparisonDocument): Table {
  if (compares === 'profiles') {
    return {
      title: 'Figures of both profiles',
      unit: 'as named; shift and bound are shares',
      source: 'the two profiles',
      lookFor: 'which figures are over their bound: a load test should be made of such traffic anew',
      columns: columnsOf(['figure'], ['A', 'B', 'B ÷ A', 'shift', 'bound', 'result']),
      rows: metrics.filter(isShift).map(shiftCells),
    };
  }
  return {
    title: 'Every metric',
    unit: 'latency and ttft: from the planned instant to the last byte, to the first token; itl_mean: mean time between tokens of a stream; shares of pairs',
    source: 'requests that were sent on both sides, paired by their recorded id',
    lookFor: 'undecided metrics: a longer window would tell',
    columns: columnsOf(
      ['metric'],
      ['A', 'B', 'change', 'joint 99 % interval', '90 % interval', 'windows', 'result'],
    ),
    rows: metrics.filter((metric): metric is ComparedMetric => !isShift(metric)).map(metricCells),
  };
}

export function isShift(metric: ComparedMetric | ShiftedFigure): metric is ShiftedFigure {
  return 'shift' in metric && 'group' in metric;
}

/** What a side is, in a line. */
function sideText({ kind, name, run, target, startedAt, verdict }: ComparedSide): string {
  if (kind !== 'run') return `${kind} ${name}`;
  const own = verdict === null ? '' : `, by itself ${verdict}`;
  return `run ${run} in ${name}: ${target}, ${startedAt}${own}`;
}

/** What could not be told. Of two profiles what only one of them knows: what neither has is not missed. */
export function undecidedOf(metrics: ComparisonDocument['metrics']): string[] {
  return metrics
    .filter((metric) => metric.verdict === 'undecided')
    .filter((metric) => !isShift(metric) || (metric.a === null) !== (metric.b === null))
    .map(({ name }) => name);
}

/** The meaning of the verdict in one sentence, with its limits: SAME covers only what was compared. */
function verdictSentence(document: ComparisonDocument): string {
  const { verdict, undecided } = document;
  const sentence = meaningOf(document);
  if (undecided.length === 0 || (verdict !== 'SAME' && verdict !== 'BETTER')) return sentence;
  return `${sentence.slice(0, -1)}, apart from what cannot be told: ${undecided.join(', ')}.`;
}

function meaningOf({ compares, verdict }: ComparisonDocument): string {
  if (compares === 'profiles') {
    return {
      SAME: 'The traffic is what it was: load tests of A still hold.',
      WORSE: 'The traffic has shifted: a new load test is due.',
      BETTER: '',
      INCONCLUSIVE: 'It cannot be told whether the traffic has shifted.',
    }[verdict];
  }
  return {
    SAME: 'B is as fast as A, and fails as often.',
    BETTER: 'B is better than A.',
    WORSE: 'B is worse than A.',
    INCONCLUSIVE: 'It cannot be told whether B is worse than A.',
  }[verdict];
}

/** How many requests were compared; empty for profiles. */
function pairsText({ pairs, unpaired }: ComparisonDocument): string {
  if (pairs === null || unpaired === null) return '';
  const { onlyA, onlyB, leftOut } = unpaired;
  return `${pairs} pairs of the same request; only in A ${onlyA}, only in B ${onlyB}, left out for causes of our own ${leftOut}`;
}

function metricCells(metric: ComparedMetric): string[] {
  const { name, unit, a, b, ratio, difference, interval, interval90, windows, verdict } = metric;
  const isMs = unit === 'ms';
  const value = (of: ComparedMetric['a']) => (isMs ? latencyText(of) : shareText(of));
  const range = (bounds: ComparedMetric['interval']) =>
    bounds === null ? NONE : bounds.map((each) => (isMs ? ratioText(each) : pointsText(each))).join(' to ');
  const change = isMs ? (ratio === null ? NONE : `× ${ratioText(ratio)}`) : pointsText(difference);
  return [name, value(a), value(b), change, range(interval), range(interval90), String(windows), verdict];
}

function shiftCells({ name, group, a, b, ratio, shift, bound, verdict }: ShiftedFigure): string[] {
  return [
    name,
    figureText(a),
    figureText(b),
    ratioText(ratio),
    shareText(shift),
    `${shareText(bound)} (${group})`,
    verdict === 'worse' ? 'shifted' : verdict === 'undecided' ? 'not known' : 'same',
  ];
}

/** The comparison as one page: the verdict first, then why, then every figure. */
export function comparisonPage(document: ComparisonDocument, assets: PageAssets): string {
  const charts = seriesOf(document);
  const view = comparisonView(document);
  const body = [
    ...view.sections.map((each) => tableSection(each, ratioFigure(document))),
    section('Over the plan', charts.map(({ html }) => html).join('')),
    section('Notes', findingList(view.notes)),
  ];
  return viewPage(view, `Comparison: ${document.verdict}`, body, charts, assets);
}

/** Absent for two profiles. */
function ratioFigure({ compares, bounds, metrics }: ComparisonDocument): string {
  if (compares === 'profiles' || typeof bounds.floor !== 'number') return '';
  return figure(
    {
      title: 'How much longer B takes',
      unit: 'B ÷ A',
      source: 'paired windows of the same requests; thick 90 %, thin 99 % for all metrics together',
      lookFor: 'a thin line that lies wholly beyond 1, with its point beyond the band: a change that counts',
    },
    ratioPlot(
      metrics.filter((metric): metric is ComparedMetric => !isShift(metric)),
      bounds.floor,
    ),
  );
}

function seriesOf({ windows, a }: ComparisonDocument) {
  if (windows.length < 2) return [];
  const startS = a.startedAt === null ? 0 : Math.round(Date.parse(a.startedAt) / 1e3);
  const lines = (percentile: 'p50' | 'p95') => [
    { label: 'A', values: windows.map((window) => window[percentile].a) },
    { label: 'B', values: windows.map((window) => window[percentile].b) },
  ];
  return (['p50', 'p95'] as const).map((percentile) =>
    timeSeries({
      id: `latency-${percentile}`,
      title: `Latency ${percentile} of both sides`,
      unit: 'ms',
      source:
        'windows of equally many pairs, at the times of A; a gap is a window in which too many had no answer',
      lookFor:
        'a distance that stays: the build. One that grows: a queue. In one window alone: chance, or a neighbour',
      at: windows.map(({ fromS }) => startS + fromS),
      lines: lines(percentile),
    }),
  );
}
