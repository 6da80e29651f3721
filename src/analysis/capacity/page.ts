import { formatMultiplier } from '../../core/units.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import { objectiveOf } from '../../documents/metrics/objectives.ts';
import { PERCENTILE_NAMES } from '../../documents/percentiles.ts';
import { drawnSeries, timeSeries } from '../render/charts.ts';
import { type ChartData, type PageAssets, type Tile, tablesPart, tilesOf, viewPage } from '../render/html.ts';
import { numberText, shareText } from '../render/table.ts';
import { monitorCharts } from '../report/monitors.ts';
import { isPlainLatency } from '../report/objective-steps.ts';
import { passingShare } from './boundary.ts';
import { capacityView, loadName, observedText } from './view.ts';

/** The breaking point as one page, for reading and printing. */
export function capacityPage(document: CapacityDocument, assets: PageAssets): string {
  const view = capacityView(document);
  const curve = [...curveFigure(document), ...passFigure(document), ...monitorFigures(document)];
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
      : [{ label: 'broke first', value: gaveFirst.objective, note: observedText(gaveFirst) }]),
    ...tiers.map(({ name, passes, fails }) => ({
      ...load(`tier ${name} passes`, passes),
      note: fails === null ? 'no load failed' : `fails ${formatMultiplier(fails.multiplier)}x`,
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

/** The axis of all charts. */
function axisOf(document: CapacityDocument): NonNullable<ChartData['x']> {
  return { label: `times ${loadName(document.load)}`, marks: marksOf(document) };
}

/** Latency at each load, with the knee, the largest passing load and the smallest failing load. */
function curveFigure(document: CapacityDocument) {
  const points = document.curve.filter(({ latencyMs }) => latencyMs.p50 !== null && latencyMs.p99 !== null);
  if (points.length < 2) return [];
  const series = timeSeries({
    id: 'load-curve',
    title: 'Latency at each load',
    tall: true,
    unit: 'ms',
    source: 'scheduled latency of requests that were served, one point a load',
    lookFor: 'the knee, where latency leaves its level, and how far before the failing load it lies',
    x: axisOf(document),
    limits: limitsOf(document),
    at: points.map(({ multiplier }) => round(multiplier)),
    lines: PERCENTILE_NAMES.map((name) => ({
      label: name,
      isPoints: true,
      values: points.map(({ latencyMs }) => latencyMs[name] ?? null),
    })),
    timeZone: 'UTC',
  });
  return [series];
}

/** Places at which the fitted curve is drawn, besides the loads: so many that a chart draws no points for them. */
const CURVE_PLACES = 100;

/** The share of windows that pass at each load, and the curve that is fitted to them. */
function passFigure(document: CapacityDocument) {
  const { curve, steps, breakingPoint } = document;
  const { boundary, transition } = breakingPoint;
  if (boundary === null || transition === null || curve.length < 2) return [];
  const shares = new Map(
    curve.map(({ multiplier }) => {
      const windows = steps.flatMap((step) => (step.multiplier === multiplier ? step.windows : []));
      const judged = windows.filter(({ result }) => result !== 'void');
      const good = judged.filter(({ result }) => result === 'good').length;
      return [multiplier, (100 * good) / judged.length];
    }),
  );
  const [least, most] = [curve[0]!.multiplier, curve.at(-1)!.multiplier];
  const places = Array.from(
    { length: CURVE_PLACES },
    (_, at) => least + ((most - least) * at) / CURVE_PLACES,
  );
  const at = [...new Set([...shares.keys(), ...places])].sort((a, b) => a - b);
  const fit = { multiplier: boundary.multiplier, transition };
  const series = timeSeries({
    id: 'pass-curve',
    title: 'Share of windows that pass at each load',
    unit: '%',
    source: 'windows that could be judged, and the logistic curve that is fitted to them (PLRsearch)',
    lookFor: 'a curve that falls slowly: there, chance decides whether a window passes',
    x: axisOf(document),
    at: at.map(round),
    lines: [
      { label: 'windows', isPoints: true, values: at.map((load) => shares.get(load) ?? null) },
      { label: 'fitted', values: at.map((load) => 100 * passingShare(fit, load)) },
    ],
    timeZone: 'UTC',
  });
  return [series];
}

/** Monitored series, over the same axis as the latency. */
function monitorFigures(document: CapacityDocument) {
  const { curve, monitors = [] } = document;
  const lines = monitors.map((series) => ({
    ...series,
    values: curve.map(
      ({ multiplier }) => series.loads.find((load) => load.multiplier === multiplier)?.p95 ?? null,
    ),
  }));
  const x = axisOf(document);
  const charts = monitorCharts(lines, () => ({
    source: 'p95 of the step of each load',
    lookFor: 'what comes to its limit before the load that fails. A gap: nothing is known there',
  }));
  return drawnSeries(
    charts.map((chart) => ({ ...chart, x, timeZone: 'UTC' })),
    curve.map(({ multiplier }) => round(multiplier)),
  );
}

/** The knee, and the loads that pass and fail. Those at one load are one mark. */
function marksOf({
  breakingPoint: { passes, fails },
  knee,
}: CapacityDocument): NonNullable<ChartData['x']>['marks'] {
  const marks = [
    { name: 'knee', point: knee, colour: 'soft' },
    { name: 'passes', point: passes, colour: 'good' },
    { name: 'fails', point: fails, colour: 'bad' },
  ].flatMap(({ point, ...mark }) => (point === null ? [] : [{ ...mark, at: point.multiplier }]));
  return [...Map.groupBy(marks, ({ at }) => at)].map(([at, alike]) => ({
    label: `${alike.map(({ name }) => name).join(' and ')} ${formatMultiplier(at)}x`,
    at: round(at),
    colour: alike.at(-1)!.colour,
  }));
}

/** The limits of the objectives on latency. */
function limitsOf({ objectives }: CapacityDocument): NonNullable<ChartData['limits']> {
  return objectives.flatMap((expression) => {
    const objective = objectiveOf(expression);
    if (objective === null || !isPlainLatency(objective)) return [];
    return [{ label: `objective ${expression}`, at: objective.limit }];
  });
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
