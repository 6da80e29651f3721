import type { ComparedMetric } from '../../documents/comparison.ts';
import { IDC_WINDOWS, type IdcWindow } from '../../documents/parts.ts';
import { type ChartData, type ChartMark, escaped, type FigureText, figure } from './html.ts';
import { numberText } from './table.ts';

/** The colours of a page, in the order they are used. */
const COLOURS = ['one', 'two', 'three', 'four'] as const;
type Colour = (typeof COLOURS)[number];

export interface Bar {
  readonly label: string;
  /** 0 or more. */
  readonly value: number;
  /** The value as it is read. */
  readonly text: string;
}

const FULL = 1_000;

/** Bars that lie, one to a line, as long as their share of the greatest. */
export function bars(list: readonly Bar[], colour: Colour = 'one'): string {
  const greatest = greatestOf(list.map(({ value }) => value)) || 1;
  const rows = list.map(({ label, value, text }) => {
    const width = Math.round((value / greatest) * FULL);
    const bar = `<svg viewBox="0 0 ${FULL} 10" preserveAspectRatio="none" aria-hidden="true"><rect class="${colour}" width="${width}" height="10"/></svg>`;
    return `<span class="label">${escaped(label)}</span>${bar}<span class="value">${escaped(text)}</span>`;
  });
  return `<div class="bars">${rows.join('')}</div>`;
}

/** An index of dispersion by its windows; empty if none is known. Bars show logarithms: it spans magnitudes. */
export function dispersionBars(idc: Readonly<Record<IdcWindow, number | null>>, colour: Colour): string {
  const list = IDC_WINDOWS.filter((window) => idc[window] !== null).map((window) => ({
    label: `${window} s`,
    value: Math.log10(1 + (idc[window] ?? 0)),
    text: numberText(idc[window]),
  }));
  return list.length === 0 ? '' : bars(list, colour);
}

/** Columns that stand side by side; the axis names the first, the middle and the last. */
export function columns(list: readonly Bar[], description: string, colour: Colour = 'one'): string {
  if (list.length === 0) return '<p class="soft">nothing was measured</p>';
  const greatest = greatestOf(list.map(({ value }) => value)) || 1;
  const rects = list.map(({ label, value, text }, at) => {
    const height = value === 0 ? 0 : Math.max(4, Math.round((value / greatest) * FULL));
    return `<rect class="${colour}" x="${at * 10 + 1}" y="${FULL - height}" width="8" height="${height}"><title>${escaped(label)}: ${escaped(text)}</title></rect>`;
  });
  const named = [list[0], list[Math.floor((list.length - 1) / 2)], list.at(-1)];
  const labels = [...new Set(named.map((bar) => bar?.label ?? ''))];
  const top = list.reduce((most, bar) => (bar.value > most.value ? bar : most));
  return `<div class="columns"><svg viewBox="0 0 ${list.length * 10} ${FULL}" preserveAspectRatio="none" role="img" aria-label="${escaped(description)}">${rects.join('')}</svg><div class="axis">${labels.map((label) => `<span>${escaped(label)}</span>`).join('')}</div><p class="soft">highest: ${escaped(top.label)}, ${escaped(top.text)}</p></div>`;
}

function greatestOf(values: readonly (number | null)[]): number {
  return values.reduce<number>((most, value) => Math.max(most, value ?? 0), 0);
}

interface HeatMapParts {
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** Row by row; null where nothing is known. */
  readonly values: readonly (number | null)[];
  readonly text: (value: number) => string;
  readonly description: string;
  /** Room for the names of rows; default 40, which is that of a weekday. */
  readonly labelWidth?: number;
}

const CELL_WIDTH = 24;
const CELL_HEIGHT = 20;
const LABEL_WIDTH = 40;
const HEADING = 18;
/** A map of few columns is not drawn larger than one of a day's hours. */
const LEAST_COLUMNS = 24;
/** The least that is not nothing is still seen. */
const FAINTEST = 0.06;

/** Values on a grid, the darker the greater; cells without data are drawn as an outline. */
export function heatMap({
  rows,
  columns,
  values,
  text,
  description,
  labelWidth = LABEL_WIDTH,
}: HeatMapParts): string {
  const greatest = greatestOf(values);
  const width = labelWidth + Math.max(LEAST_COLUMNS, columns.length) * CELL_WIDTH;
  const height = HEADING + rows.length * CELL_HEIGHT;
  const marks = columns.map((label, at) =>
    label === ''
      ? ''
      : `<text x="${labelWidth + at * CELL_WIDTH + CELL_WIDTH / 2}" y="12" text-anchor="middle">${escaped(label)}</text>`,
  );
  const lines = rows.map((label, row) => {
    const y = HEADING + row * CELL_HEIGHT;
    const cells = columns.map((_, column) => {
      const value = values[row * columns.length + column] ?? null;
      const place = `x="${labelWidth + column * CELL_WIDTH + 1}" y="${y + 1}" width="${CELL_WIDTH - 2}" height="${CELL_HEIGHT - 2}"`;
      if (value === null) return `<rect class="none" ${place}/>`;
      const opacity = value === 0 || greatest === 0 ? 0 : FAINTEST + (1 - FAINTEST) * (value / greatest);
      return `<rect ${place} fill-opacity="${opacity.toFixed(3)}"><title>${escaped(label)} ${column}: ${escaped(text(value))}</title></rect>`;
    });
    return `<text x="0" y="${y + CELL_HEIGHT / 2 + 4}">${escaped(label)}</text>${cells.join('')}`;
  });
  return `<div class="heat scroll"><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(description)}">${marks.join('')}${lines.join('')}</svg></div><p class="soft">darkest: ${escaped(text(greatest))}; empty: 0; outlined: not known</p>`;
}

interface CurvePoint {
  /** From 0 to below 100. */
  readonly percent: number;
  /** Null where nothing was measured. */
  readonly value: number | null;
  /** A value that rests on too few samples is drawn hollow. */
  readonly trusted: boolean;
}

interface CurveParts {
  readonly lines: readonly { readonly label: string; readonly points: readonly CurvePoint[] }[];
  readonly text: (value: number) => string;
  readonly description: string;
}

const CURVE_WIDTH = 800;
const CURVE_HEIGHT = 260;
const CURVE_LEFT = 74;
const CURVE_RIGHT = 24;
const CURVE_TOP = 12;
const CURVE_BOTTOM = 24;

/**
 * Percentiles from the middle to the tail, each nine as far from the last as the one before it, as HdrHistogram's
 * plots are laid out; values on a logarithmic scale, so that a tail does not flatten the rest.
 */
export function percentileCurve({ lines, text, description }: CurveParts): string {
  const drawn = lines.map(({ label, points }, at) => ({
    label,
    colour: COLOURS[at % COLOURS.length] ?? 'one',
    points: points.filter((point): point is CurvePoint & { value: number } => point.value !== null),
  }));
  const values = drawn.flatMap(({ points }) => points.map(({ value }) => value)).filter((value) => value > 0);
  if (values.length === 0) return '<p class="soft">nothing was measured</p>';
  const y = scaleOf(values);
  const percents = [...new Set(drawn.flatMap(({ points }) => points.map(({ percent }) => percent)))].sort(
    (a, b) => a - b,
  );
  const ninesOf = (percent: number) => -Math.log10(1 - percent / 100);
  const least = ninesOf(percents[0] ?? 0);
  const span = ninesOf(percents.at(-1) ?? 0) - least || 1;
  const x = (percent: number) =>
    CURVE_LEFT + ((ninesOf(percent) - least) / span) * (CURVE_WIDTH - CURVE_LEFT - CURVE_RIGHT);
  const columns = percents.map(
    (percent) =>
      `<line x1="${x(percent).toFixed(1)}" x2="${x(percent).toFixed(1)}" y1="${CURVE_TOP}" y2="${CURVE_HEIGHT - CURVE_BOTTOM}"/><text x="${x(percent).toFixed(1)}" y="${CURVE_HEIGHT - 6}" text-anchor="middle">p${percent}</text>`,
  );
  const rows = y.ticks.map(
    (tick) =>
      `<line x1="${CURVE_LEFT}" x2="${CURVE_WIDTH - CURVE_RIGHT}" y1="${y.at(tick)}" y2="${y.at(tick)}"/><text x="${CURVE_LEFT - 6}" y="${Number(y.at(tick)) + 4}" text-anchor="end">${escaped(text(tick))}</text>`,
  );
  const curves = drawn.map(({ label, colour, points }) => {
    const line = points.map(({ percent, value }) => `${x(percent).toFixed(1)},${y.at(value)}`).join(' ');
    const marks = points.map(
      ({ percent, value, trusted }) =>
        `<circle class="${colour}${trusted ? '' : ' hollow'}" cx="${x(percent).toFixed(1)}" cy="${y.at(value)}" r="4"><title>${escaped(`${label} p${percent}: ${text(value)}${trusted ? '' : ' (too few samples)'}`)}</title></circle>`,
    );
    return `<polyline class="${colour}" points="${line}"/>${marks.join('')}`;
  });
  return `<p class="legend">${legendOf(drawn)}; hollow: too few samples</p><div class="curve scroll"><svg viewBox="0 0 ${CURVE_WIDTH} ${CURVE_HEIGHT}" role="img" aria-label="${escaped(description)}">${columns.join('')}${rows.join('')}${curves.join('')}</svg></div>`;
}

function legendOf(lines: readonly { readonly label: string; readonly colour: string }[]): string {
  const keys = lines.map(
    ({ label, colour }) =>
      `<svg class="key" viewBox="0 0 1 1" aria-hidden="true"><rect class="${colour}" width="1" height="1"/></svg>${escaped(label)}`,
  );
  return keys.join('');
}

/** A logarithmic scale from below the least value to above the greatest, with ticks at 1, 2 and 5 of each magnitude. */
function scaleOf(values: readonly number[]): {
  readonly ticks: readonly number[];
  at(value: number): string;
} {
  const least = values.reduce((a, b) => Math.min(a, b));
  const greatest = values.reduce((a, b) => Math.max(a, b));
  const from = Math.log10(least) - 0.05;
  const to = Math.max(Math.log10(greatest) + 0.05, from + 0.3);
  const magnitudes = to - from;
  const steps = magnitudes > 3 ? [1] : magnitudes > 1.5 ? [1, 3] : [1, 2, 5];
  const ticks: number[] = [];
  for (let magnitude = Math.floor(from); magnitude <= to; magnitude += 1) {
    for (const step of steps) {
      const tick = step * 10 ** magnitude;
      if (Math.log10(tick) >= from && Math.log10(tick) <= to) ticks.push(tick);
    }
  }
  return {
    ticks,
    at: (value) => {
      const share = (Math.log10(Math.max(value, 10 ** from)) - from) / (to - from);
      return (CURVE_HEIGHT - CURVE_BOTTOM - share * (CURVE_HEIGHT - CURVE_BOTTOM - CURVE_TOP)).toFixed(1);
    },
  };
}

const RATIO_WIDTH = 260;
const RATIO_ROW = 34;
/** On either side of no change, in logarithms: halves and doubles. */
const RATIO_MOST = Math.log(2);

/** The ratio of each latency with its intervals, on a logarithmic scale about no change. */
export function ratioPlot(metrics: readonly ComparedMetric[], floor: number): string {
  const known = metrics.filter(
    ({ unit, ratio, interval }) => unit === 'ms' && ratio !== null && interval !== null,
  );
  if (known.length === 0) return '<p class="soft">too few pairs for an interval</p>';
  const height = known.length * RATIO_ROW + 24;
  const [low, high] = [xOf(1 / (1 + floor)), xOf(1 + floor)];
  const band = `<rect x="${low}" y="0" width="${high - low}" height="${height - 22}" fill="var(--line)"/><line x1="${xOf(1)}" x2="${xOf(1)}" y1="0" y2="${height - 22}" stroke="var(--soft)"/>`;
  const ticks = [0.5, 0.7, 1, 1.4, 2].map(
    (value) =>
      `<text x="${xOf(value)}" y="${height - 6}" text-anchor="middle" fill="var(--soft)" font-size="12">× ${value}</text>`,
  );
  return `<div class="scroll"><svg viewBox="-40 0 ${RATIO_WIDTH + 80} ${height}" width="100%" height="${height}" preserveAspectRatio="xMinYMid" role="img" aria-label="ratios of latencies with their intervals">${band}${known.map(rowOf).join('')}${ticks.join('')}</svg></div>`;
}

function rowOf({ name, ratio, interval, interval90, verdict }: ComparedMetric, at: number): string {
  const y = at * RATIO_ROW + 24;
  const [outer, inner] = [interval ?? [1, 1], interval90 ?? [1, 1]];
  const colour = verdict === 'worse' ? 'var(--bad)' : verdict === 'better' ? 'var(--good)' : 'var(--one)';
  const line = (from: number, to: number, width: number) =>
    `<line x1="${xOf(from)}" x2="${xOf(to)}" y1="${y}" y2="${y}" stroke="${colour}" stroke-width="${width}"/>`;
  return `${line(outer[0], outer[1], 2)}${line(inner[0], inner[1], 6)}<circle cx="${xOf(ratio ?? 1)}" cy="${y}" r="6" fill="${colour}"/><text x="0" y="${y - 9}" fill="var(--ink)" font-size="13">${escaped(name)}</text>`;
}

/** Ratios beyond half and double end at the edge. */
function xOf(ratio: number): number {
  const share = Math.max(-1, Math.min(1, Math.log(Math.max(1e-9, ratio)) / RATIO_MOST));
  return Math.round(((share + 1) / 2) * RATIO_WIDTH);
}

interface TimeSeriesParts extends FigureText {
  /** Unique on its page; letters and dashes. */
  readonly id: string;
  readonly at: readonly number[];
  readonly lines: readonly { readonly label: string; readonly values: readonly (number | null)[] }[];
  /** Windows to mark, in the unit of `at`. */
  readonly marks?: readonly ChartMark[];
}

const SERIES_WIDTH = 800;
const SERIES_HEIGHT = 200;
const SIGNIFICANT = 4;

/** A figure that stands as a picture, and is drawn anew where a script runs. */
export function timeSeries(parts: TimeSeriesParts): { readonly html: string; readonly data: ChartData } {
  const data: ChartData = {
    id: parts.id,
    unit: parts.unit,
    at: parts.at,
    ...(parts.marks !== undefined && parts.marks.length > 0 && { marks: parts.marks }),
    lines: parts.lines.map(({ label, values }, at) => ({
      label,
      colour: COLOURS[at % COLOURS.length] ?? 'one',
      values: values.map((value) => (value === null ? null : Number(value.toPrecision(SIGNIFICANT)))),
    })),
  };
  const body = `<div class="live" id="${parts.id}"></div><div class="still">${still(data, parts.title)}</div>`;
  return { html: figure(parts, body), data };
}

/** The time series of a page that have something to show, over the same times. */
export function drawnSeries(
  charts: readonly (Omit<TimeSeriesParts, 'at'> & { readonly isShown: boolean })[],
  at: readonly number[],
) {
  if (at.length === 0) return [];
  return charts.filter(({ isShown }) => isShown).map((chart) => timeSeries({ ...chart, at }));
}

function still({ at, lines, unit, marks = [] }: ChartData, title: string): string {
  const first = at[0];
  const last = at.at(-1);
  if (first === undefined || last === undefined) return '<p class="soft">nothing was measured</p>';
  const greatest = greatestOf(lines.flatMap(({ values }) => values));
  const polylines = lines.flatMap(({ colour, values }) =>
    stretchesOf(at, values, greatest || 1).map(
      (points) => `<polyline class="${colour}" points="${points}"/>`,
    ),
  );
  return `<p class="legend">top: ${escaped(String(greatest))} ${escaped(unit)}${legendOf(lines)}</p><svg viewBox="0 0 ${SERIES_WIDTH} ${SERIES_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${escaped(title)}">${bandsOf(marks, first, last)}${polylines.join('')}</svg><div class="axis"><span>${instant(first, last - first)}</span><span>${instant(last, last - first)}</span></div>`;
}

function bandsOf(marks: readonly ChartMark[], first: number, last: number): string {
  const x = (second: number) =>
    Math.round(Math.max(0, Math.min(1, (second - first) / (last - first || 1))) * SERIES_WIDTH);
  return marks
    .map(
      ({ from, to, label }) =>
        `<rect x="${x(from)}" y="0" width="${Math.max(1, x(to) - x(from))}" height="${SERIES_HEIGHT}" fill="var(--line)" opacity="0.5"><title>${escaped(label)}</title></rect>`,
    )
    .join('');
}

/**
 * One point for each column of the picture: the greatest that falls into it, so that no peak is lost. Where steps
 * between two columns have no value the line is broken: nothing is known there. A stretch of one point is a dash.
 */
function stretchesOf(
  at: readonly number[],
  values: readonly (number | null)[],
  greatest: number,
): readonly string[] {
  const first = at[0] ?? 0;
  const span = (at.at(-1) ?? first) - first || 1;
  const stretches: Map<number, number>[] = [];
  let open = false;
  for (const [index, second] of at.entries()) {
    const value = values[index] ?? null;
    const x = Math.round(((second - first) / span) * SERIES_WIDTH);
    const last = stretches.at(-1);
    if (value === null) {
      // A column that has another value is not empty.
      open &&= last?.has(x) ?? false;
      continue;
    }
    const tops = open && last !== undefined ? last : new Map<number, number>();
    if (tops !== last) stretches.push(tops);
    open = true;
    tops.set(x, Math.max(tops.get(x) ?? 0, value));
  }
  return stretches.map((tops) => {
    const points = [...tops].map(
      ([x, value]) => `${x},${(SERIES_HEIGHT - (value / greatest) * SERIES_HEIGHT * 0.97).toFixed(1)}`,
    );
    const [only] = tops.keys();
    return points.length === 1 && only !== undefined
      ? `${points[0]} ${points[0]?.replace(/^\d+/, String(only + 2))}`
      : points.join(' ');
  });
}

/** Seconds stand only where minutes would not tell the ends apart. */
function instant(second: number, span: number): string {
  const length = span < 3_600 ? 19 : 16;
  return `${new Date(second * 1e3).toISOString().slice(0, length).replace('T', ' ')} UTC`;
}
