import { formatMs, formatMultiplier } from '../../core/units.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import {
  type ChartData,
  escaped,
  facts,
  figure,
  findingList,
  type PageAssets,
  section,
  tableSection,
  viewPage,
} from '../render/html.ts';
import { capacityView } from './view.ts';

/** The breaking point as one page to read, to print and to hand on. */
export function capacityPage(document: CapacityDocument, assets: PageAssets): string {
  const view = capacityView(document);
  const curve = curveFigure(document);
  const body = [
    factsOf(document),
    section('Throughput and latency', curve.html),
    ...view.sections.map((each) => tableSection(each)),
    section('Notes', findingList(view.notes)),
  ];
  return viewPage(view, 'Breaking point', body, curve.data === null ? [] : [{ data: curve.data }], assets);
}

function factsOf({ breakingPoint, gaveFirst, knee, sizing, noise }: CapacityDocument): string {
  const load = (multiplier: number | undefined) =>
    multiplier === undefined ? '–' : `${formatMultiplier(multiplier)}x`;
  return facts([
    ['passes', load(breakingPoint.passes?.multiplier)],
    ['fails', load(breakingPoint.fails?.multiplier)],
    ['half of the windows pass', load(breakingPoint.boundary?.multiplier)],
    ['gave first', gaveFirst?.objective ?? '–'],
    ['knee', load(knee?.multiplier)],
    ['noise of the target', noise.source === 'none' ? '–' : `${(noise.share * 100).toFixed(1)} %`],
    ...(sizing?.replicasNeeded ?? []).map(
      ({ timesPeak, replicas }) => [`replicas at ${timesPeak}x the peak`, String(replicas)] as const,
    ),
  ]);
}

const WIDTH = 800;
const HEIGHT = 260;
const EDGE = { left: 74, right: 24, top: 12, bottom: 24 } as const;
const TICKS = 4;

/** Latency over throughput, as queueing theory draws it: with the knee, and the load that passes and that fails. */
function curveFigure(document: CapacityDocument): { readonly html: string; readonly data: ChartData | null } {
  const points = document.curve
    .filter(({ latencyMs }) => latencyMs.p50 !== null && latencyMs.p99 !== null)
    .toSorted((a, b) => a.ratePerSecond - b.ratePerSecond);
  const words = {
    title: 'Latency over load',
    unit: 'ms; requests due per second',
    source: 'scheduled latency of requests that were served, one point a load',
    lookFor: 'the knee, where latency leaves its level, and how far before the failing load it lies',
  };
  if (points.length < 2) return { html: '<p class="soft">too few loads for a curve</p>', data: null };
  const data: ChartData = {
    id: 'load-curve',
    unit: 'ms',
    x: { label: 'requests due per second', marks: marksOf(document) },
    at: points.map(({ ratePerSecond }) => round(ratePerSecond)),
    lines: (['p50', 'p95', 'p99'] as const).map((name, at) => ({
      label: name,
      colour: (['one', 'two', 'three'] as const)[at] ?? 'one',
      values: points.map(({ latencyMs }) => (latencyMs[name] === null ? null : round(latencyMs[name]))),
    })),
  };
  const body = `<div class="live" id="${data.id}"></div><div class="still">${still(data)}</div>`;
  return { html: figure(words, body), data };
}

function marksOf({
  breakingPoint: { passes, fails },
  knee,
}: CapacityDocument): NonNullable<ChartData['x']>['marks'] {
  const marks = [
    { name: 'knee', point: knee, colour: 'soft' },
    { name: 'passes', point: passes, colour: 'good' },
    { name: 'fails', point: fails, colour: 'bad' },
  ];
  return marks.flatMap(({ name, point, colour }) =>
    point === null
      ? []
      : [{ label: `${name} ${formatMultiplier(point.multiplier)}x`, at: round(point.ratePerSecond), colour }],
  );
}

/** The same where no script runs. */
function still({ at, lines, x }: ChartData): string {
  const [least, most] = [at[0] ?? 0, at.at(-1) ?? 1];
  const top = Math.max(...lines.flatMap(({ values }) => values.map((value) => value ?? 0))) || 1;
  const left = (value: number) =>
    (EDGE.left + ((value - least) / (most - least || 1)) * (WIDTH - EDGE.left - EDGE.right)).toFixed(1);
  const height = (value: number) =>
    (HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.bottom - EDGE.top)).toFixed(1);
  const rows = Array.from({ length: TICKS + 1 }, (_, tick) => (top * tick) / TICKS).map(
    (value) =>
      `<line x1="${EDGE.left}" x2="${WIDTH - EDGE.right}" y1="${height(value)}" y2="${height(value)}"/><text x="${EDGE.left - 6}" y="${height(value)}" text-anchor="end">${escaped(formatMs(value))}</text>`,
  );
  const ends = [least, most].map(
    (value) => `<text x="${left(value)}" y="${HEIGHT - 6}" text-anchor="middle">${value}/s</text>`,
  );
  const marks = (x?.marks ?? []).map(
    ({ label, at: place, colour }, index) =>
      `<line x1="${left(place)}" x2="${left(place)}" y1="${EDGE.top}" y2="${HEIGHT - EDGE.bottom}" class="mark ${colour}"/><text x="${left(place)}" y="${EDGE.top + 14 * (index + 1)}" text-anchor="end">${escaped(label)}</text>`,
  );
  const curves = lines.map(({ label, colour, values }) => {
    const known = values.flatMap((value, index) =>
      value === null ? [] : [{ value, place: at[index] ?? 0 }],
    );
    const dots = known.map(
      ({ value, place }) =>
        `<circle class="${colour}" cx="${left(place)}" cy="${height(value)}" r="4"><title>${escaped(`${label} at ${place}/s: ${formatMs(value)}`)}</title></circle>`,
    );
    return `<polyline class="${colour}" points="${known.map(({ value, place }) => `${left(place)},${height(value)}`).join(' ')}"/>${dots.join('')}`;
  });
  const legend = lines
    .map(
      ({ label, colour }) =>
        `<svg class="key" viewBox="0 0 1 1" aria-hidden="true"><rect class="${colour}" width="1" height="1"/></svg>${escaped(label)}`,
    )
    .join('');
  return `<p class="legend">${legend}</p><div class="curve scroll"><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="latency over requests due per second">${rows.join('')}${ends.join('')}${marks.join('')}${curves.join('')}</svg></div>`;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
