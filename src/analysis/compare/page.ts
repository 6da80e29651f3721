import type { ComparedMetric, ComparisonDocument } from '../../documents/comparison.ts';
import { ratioPlot, timeSeries } from '../render/charts.ts';
import {
  escaped,
  figure,
  type PageAssets,
  type Part,
  type Tile,
  tablesPart,
  tilesOf,
  viewPage,
} from '../render/html.ts';
import { figureText, INTERVAL_SHOWN, intervalText, metricName, shareText } from '../render/table.ts';
import { sampleFloor } from '../stats/percentiles.ts';
import { differingMetric } from './routes.ts';
import { changeOrBoth, comparisonView, isShift, sideTexts } from './view.ts';

/** The comparison as one page: the verdict with ratios and intervals, the reasons, and all figures, collapsed. */
export function comparisonPage(document: ComparisonDocument, assets: PageAssets, timeZone = 'UTC'): string {
  const view = comparisonView(document, timeZone);
  const charts = seriesOf(document, timeZone);
  const overPlan: Part = {
    id: 'over-plan',
    title: 'Latency over the plan',
    html: charts.map(({ html }) => html).join(''),
  };
  const sides = sideTexts(document, timeZone).map((line) => `<p>${escaped(line)}</p>`);
  const tiles = tilesOf([...routeTiles(document), ...comparisonTiles(document)]);
  const first = sides.join('') + tiles + ratioFigure(document);
  const parts = [...view.sections.map((each) => tablesPart(each)), overPlan];
  return viewPage(view, { title: `Comparison: ${document.verdict}`, first, parts, charts, timeZone }, assets);
}

const STATES = {
  better: { tone: 'good', word: 'better' },
  same: { tone: 'good', word: 'same' },
  worse: { tone: 'bad', word: 'worse' },
  undecided: { tone: 'warn', word: 'undecided' },
} as const;

/** Tiles of every metric of two runs, decided ones first; for two profiles, of the figures that shifted. */
function comparisonTiles({ metrics }: ComparisonDocument): Tile[] {
  const isOpen = ({ verdict }: { readonly verdict: string }) => verdict === 'undecided';
  return metrics
    .toSorted((a, b) => Number(isOpen(a)) - Number(isOpen(b)))
    .flatMap((metric): Tile[] => {
      const state = STATES[metric.verdict];
      if (!isShift(metric)) return [{ label: metricName(metric.name), state, ...changeOf(metric) }];
      if (metric.verdict !== 'worse') return [];
      const value = `${figureText(metric.a)} → ${figureText(metric.b)}`;
      const note = `a shift of ${shareText(metric.shift)}, bound ${shareText(metric.bound)}`;
      return [{ label: metric.name, value, state: { tone: 'bad', word: 'shifted' }, note }];
    });
}

/** A tile for the worst route, if one is worse: the other tiles show only the total. */
function routeTiles({ routes }: ComparisonDocument): Tile[] {
  const [worst] = routes?.shown ?? [];
  if (routes == null || worst?.verdict !== 'worse') return [];
  const metric = differingMetric(worst);
  const change = metric === undefined ? '' : `${metricName(metric.name)} ${changeOf(metric).value}`;
  return [
    {
      label: routes.worse === 1 ? 'worst route' : `the worst of ${routes.worse} routes`,
      value: worst.route ?? 'no route',
      state: STATES.worse,
      note: change,
    },
  ];
}

function changeOf(metric: ComparedMetric): Pick<Tile, 'value' | 'note'> {
  if (metric.unit === 'share')
    return { value: `${shareText(metric.a)} → ${shareText(metric.b)}`, note: 'of the pairs' };
  const note = metric.interval90 === null ? '' : `${INTERVAL_SHOWN}: ${intervalText(metric.interval90)}`;
  return { value: changeOrBoth(metric), note };
}

/** The chart of ratios; empty for two profiles. */
function ratioFigure({ compares, bounds, metrics }: ComparisonDocument): string {
  if (compares === 'profiles' || typeof bounds.floor !== 'number') return '';
  const drawn = ratioPlot(
    metrics.filter((metric): metric is ComparedMetric => !isShift(metric)),
    bounds.floor,
  );
  if (drawn === '') return '';
  return figure(
    {
      title: 'B compared with A',
      unit: 'change of the latency, on a logarithmic scale of B ÷ A',
      source: `paired windows of the same requests; thick 90 %, thin 99 % for all metrics together; grey band: less than ${shareText(bounds.floor)} counts as no change`,
      lookFor:
        'a thin line that lies wholly on one side of 0 %, with its point beyond the band: a change that counts',
    },
    drawn,
  );
}

function seriesOf({ windows, a }: ComparisonDocument, timeZone: string) {
  if (windows.length < 2) return [];
  const startS = a.startedAt === null ? 0 : Math.round(Date.parse(a.startedAt) / 1e3);
  const lines = (percentile: 'p50' | 'p95') => [
    { label: 'A', values: windows.map((window) => window[percentile].a) },
    { label: 'B', values: windows.map((window) => window[percentile].b) },
  ];
  const known = windows.every(({ pairs }) => pairs >= sampleFloor(95))
    ? (['p50', 'p95'] as const)
    : (['p50'] as const);
  return known.map((percentile) =>
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
      timeZone,
      ...(a.startedAt === null && { x: { label: 'seconds since the first pair', marks: [] } }),
    }),
  );
}
