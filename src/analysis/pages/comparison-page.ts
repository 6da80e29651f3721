import { shownText } from '../../core/text.ts';
import type { ComparedMetric, ComparisonDocument, ComparisonVerdict } from '../../documents/comparison.ts';
import type { ComparisonReason } from '../compare/compare-pairs.ts';
import { isShift, metricTable, pairsText, sideText, verdictSentence } from '../compare/comparison-rows.ts';
import { escaped } from './escape.ts';
import { figure, section, table } from './figure.ts';
import { type PageAssets, page } from './page.ts';
import { ratioPlot } from './ratio-plot.ts';
import { timeSeries } from './time-series.ts';

const BADGES: Readonly<Record<ComparisonVerdict, string>> = {
  BETTER: 'good',
  SAME: 'good',
  WORSE: 'bad',
  INCONCLUSIVE: 'warn',
};

/** The comparison as one page: the verdict first, then why, then every figure. */
export function comparisonPage(document: ComparisonDocument, assets: PageAssets): string {
  const charts = seriesOf(document);
  const body = [
    headerOf(document),
    reasonList(document.reasons),
    section('Metrics', metricSection(document)),
    section('Over the plan', charts.map(({ html }) => html).join('')),
    section('Notes', reasonList(document.notes)),
  ];
  return page(
    {
      title: `Comparison: ${document.verdict}`,
      body: body.filter((part) => part !== '').join('\n'),
      charts: charts.map(({ data }) => data),
      timeZone: 'UTC',
    },
    assets,
  );
}

function headerOf(document: ComparisonDocument): string {
  const { verdict, a, b } = document;
  const pairs = pairsText(document);
  return `<header><h1><span class="badge ${BADGES[verdict]}">${verdict}</span>${escaped(verdictSentence(document))}</h1><p>A: ${escaped(shownText(sideText(a)))}</p><p>B: ${escaped(shownText(sideText(b)))}</p>${pairs === '' ? '' : `<p class="soft">${escaped(pairs)}</p>`}</header>`;
}

function reasonList(reasons: readonly ComparisonReason[]): string {
  if (reasons.length === 0) return '';
  const items = reasons.map(
    ({ text, advice }) =>
      `<li>${escaped(shownText(text))}. <span class="soft">${escaped(advice)}</span></li>`,
  );
  return `<ul class="findings">${items.join('')}</ul>`;
}

function metricSection(document: ComparisonDocument): string {
  const { titles, rows } = metricTable(document);
  const isTraffic = document.compares === 'profiles';
  const columns = titles.map((title, at) => ({
    title,
    kind: at === 0 ? ('name' as const) : ('number' as const),
  }));
  const metrics = document.metrics.filter((metric): metric is ComparedMetric => !isShift(metric));
  const { bounds } = document;
  const plot =
    isTraffic || typeof bounds.floor !== 'number'
      ? ''
      : figure(
          {
            title: 'How much longer B takes',
            unit: 'B ÷ A',
            source: 'paired windows of the same requests; thick 90 %, thin 99 % for all metrics together',
            lookFor:
              'a thin line that lies wholly beyond 1, with its point beyond the band: a change that counts',
          },
          ratioPlot(metrics, bounds.floor),
        );
  const words = isTraffic
    ? {
        title: 'Figures of both profiles',
        unit: 'as named; shift and bound are shares',
        source: 'the two profiles',
        lookFor: 'which figures are over their bound: a load test should be made of such traffic anew',
      }
    : {
        title: 'Every metric',
        unit: 'latency and ttft: from the planned instant to the last byte, to the first token; itl_mean: mean time between tokens of a stream; shares of pairs',
        source: 'requests that were sent on both sides, paired by their recorded id',
        lookFor: 'undecided metrics: a longer window would tell',
      };
  return `${plot}${figure(words, table(columns, rows))}`;
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
      source: `stretches of equally many pairs, at the times of A; a gap is a stretch in which too many had no answer`,
      lookFor:
        'a distance that stays: the build. One that grows: a queue. One stretch alone: chance, or a neighbour',
      at: windows.map(({ fromS }) => startS + fromS),
      lines: lines(percentile),
    }),
  );
}
