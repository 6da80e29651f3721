import { formatMultiplier } from '../../core/units.ts';
import type { CapacityDocument, LoadPoint } from '../../documents/capacity.ts';
import { PERCENTILE_NAMES } from '../../documents/percentiles.ts';
import { drawnSeries, timeSeries } from '../render/charts.ts';
import { type ChartData, type PageAssets, type Tile, tablesPart, tilesOf, viewPage } from '../render/html.ts';
import { numberText, shareText } from '../render/table.ts';
import { monitorCharts } from '../report/monitors.ts';
import { capacityView, observedText } from './view.ts';

/** The breaking point as one page, for reading and printing. */
export function capacityPage(document: CapacityDocument, assets: PageAssets): string {
  const view = capacityView(document);
  const curve = [...curveFigure(document), ...monitorFigures(document)];
  return viewPage(
    view,
    {
      title: view.title,
      first: tilesOf(capacityTiles(document)) + curve.map(({ html }) => html).join(''),
      parts: view.sections.map((each) => tablesPart(each)),
      charts: curve,
      timeZone: 'UTC',
    },
    assets,
  );
}

function capacityTiles({
  breakingPoint,
  gaveFirst,
  knee,
  sizing,
  noise,
  tiers = [],
}: CapacityDocument): Tile[] {
  const { passes, fails } = breakingPoint;
  const load = (label: string, point: typeof passes, state?: Tile['state']): Tile => ({
    label,
    value: point === null ? '–' : `${formatMultiplier(point.multiplier)}x`,
    note: point === null ? 'not found' : `${numberText(point.ratePerSecond)} requests/s`,
    ...(state && point !== null && { state }),
  });
  return [
    load('largest load that passes', passes, { tone: 'good', word: 'passes' }),
    load('least load that fails', fails, { tone: 'bad', word: 'fails' }),
    load('knee of the latency', knee),
    ...(gaveFirst === null
      ? []
      : [{ label: 'gave first', value: gaveFirst.objective, note: observedText(gaveFirst) }]),
    ...tiers.map(({ name, passes, fails }) => ({
      ...load(`tier ${name} passes`, passes),
      note: fails === null ? 'nothing played failed it' : `fails ${formatMultiplier(fails.multiplier)}x`,
    })),
    ...(noise.source === 'none'
      ? []
      : [
          {
            label: 'noise of the target',
            value: shareText(noise.share),
            note: 'between windows of one load',
          },
        ]),
    ...(sizing?.replicasNeeded ?? [])
      .slice(0, 1)
      .map(({ timesPeak, replicas, replicasPassed = replicas }) => ({
        label: `replicas at ${timesPeak}x the peak`,
        value: String(replicas),
        note:
          sizing?.certainMultiplier == null
            ? 'by what passed; none is certain at 95 %'
            : `certain at 95 %; ${replicasPassed} by what passed`,
      })),
  ];
}

/** Latency over throughput, with the knee, the largest passing load and the smallest failing load. */
function curveFigure(document: CapacityDocument) {
  const points = document.curve
    .filter(({ latencyMs }) => latencyMs.p50 !== null && latencyMs.p99 !== null)
    .toSorted((a, b) => a.ratePerSecond - b.ratePerSecond);
  if (points.length < 2) return [];
  const series = timeSeries({
    id: 'load-curve',
    title: 'Latency over load',
    tall: true,
    unit: 'ms',
    source: 'scheduled latency of requests that were served, one point a load, by requests due per second',
    lookFor: 'the knee, where latency leaves its level, and how far before the failing load it lies',
    x: { label: 'requests due per second', marks: marksOf(document) },
    at: points.map(({ ratePerSecond }) => round(ratePerSecond)),
    lines: PERCENTILE_NAMES.map((name) => ({
      label: name,
      values: points.map(({ latencyMs }) => latencyMs[name] ?? null),
    })),
    timeZone: 'UTC',
  });
  return [series];
}

/** Monitored series, over the same axis as the latency. */
function monitorFigures({ curve, monitors = [], ...document }: CapacityDocument) {
  const lines = monitors.map((series) => ({
    ...series,
    values: curve.map(
      ({ multiplier }) => series.loads.find((load) => load.multiplier === multiplier)?.p95 ?? null,
    ),
  }));
  const x = { label: 'requests due per second', marks: marksOf({ curve, ...document }) };
  const charts = monitorCharts(lines, () => ({
    source: 'p95 of the step of each load',
    lookFor: 'what comes to its limit before the load that fails. A gap: nothing is known there',
  }));
  return drawnSeries(
    charts.map((chart) => ({ ...chart, x, timeZone: 'UTC' })),
    curve.map(({ ratePerSecond }) => round(ratePerSecond)),
  );
}

function marksOf({
  breakingPoint: { passes, fails },
  knee,
  curve,
}: Pick<CapacityDocument, 'breakingPoint' | 'knee' | 'curve'>): NonNullable<ChartData['x']>['marks'] {
  const rates = curve.map(({ ratePerSecond }) => ratePerSecond);
  const [least, most] = [Math.min(...rates), Math.max(...rates)];
  // A label within a quarter of either end would be cut off.
  const isFirst = ({ ratePerSecond }: LoadPoint) => ratePerSecond < least + (most - least) / 4;
  const isLast = ({ ratePerSecond }: LoadPoint) => ratePerSecond > most - (most - least) / 4;
  const marks = [
    { name: 'knee', point: knee, colour: 'soft' },
    { name: 'passes', point: passes, colour: 'good' },
    { name: 'fails', point: fails, colour: 'bad' },
  ];
  return marks.flatMap(({ name, point, colour }) =>
    point === null
      ? []
      : [
          {
            label: `${name} ${formatMultiplier(point.multiplier)}x`,
            at: round(point.ratePerSecond),
            colour,
            // The passing load is left of the failing one, so its label is too.
            isBefore: name === 'passes' ? !isFirst(point) : name === 'fails' && isLast(point),
          },
        ],
  );
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
