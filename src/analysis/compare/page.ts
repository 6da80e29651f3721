import type { ComparedMetric, ComparisonDocument } from '../../documents/comparison.ts';
import { ratioPlot, timeSeries } from '../render/charts.ts';
import { figure, findingList, type PageAssets, section, tableSection, viewPage } from '../render/html.ts';
import { comparisonView, isShift } from './view.ts';

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
