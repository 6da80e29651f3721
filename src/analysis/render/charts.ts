import { zonedTime } from '../../core/calendar.ts';
import type { Tone } from '../../core/text.ts';
import type { ComparedMetric } from '../../documents/comparison.ts';
import { IDC_WINDOWS, type IdcWindow } from '../../documents/parts.ts';
import { type ChartData, escaped, type FigureText, figure, type Scale } from './html.ts';
import { metricName, NONE, numberText, signedText, timesText } from './table.ts';

/** The colours of a page, in the order of their use. */
const COLOURS = ['one', 'two', 'three', 'four'] as const;
type Colour = (typeof COLOURS)[number];

export interface Bar {
  readonly label: string;
  /** 0 or more. */
  readonly value: number;
  /** The value as text. */
  readonly text: string;
}

const FULL = 1_000;

/** Horizontal bars, one per line. The greatest value has the full width. */
export function bars(list: readonly Bar[], colour: Colour = 'one'): string {
  const greatest = greatestOf(list.map(({ value }) => value)) || 1;
  const rows = list.map(({ label, value, text }) => {
    const width = Math.round((value / greatest) * FULL);
    const bar = `<svg viewBox="0 0 ${FULL} 10" preserveAspectRatio="none" aria-hidden="true"><rect class="${colour}" width="${width}" height="10"/></svg>`;
    return `<span class="label">${escaped(label)}</span>${bar}<span class="value">${escaped(text)}</span>`;
  });
  return `<div class="bars">${rows.join('')}</div>`;
}

/** Streams of arrivals by their name on the page. */
type Dispersions = readonly {
  readonly name: string;
  readonly idc: Readonly<Record<IdcWindow, number | null>>;
}[];

const DOTS_ROW = 30;
/** The ends of the scale in percent of the width. Text and points are not stretched with it. */
const DOTS_FROM = 14;
const DOTS_TO = 95;
/** One window alone shows no growth. */
const LEAST_WINDOWS = 2;

/** Indices of dispersion with their caption; empty if fewer than two windows are known. */
export function dispersionFigure(streams: Dispersions, lookFor: string): string {
  const dots = dispersionDots(streams);
  const title = 'Index of dispersion';
  const unit = 'variance over mean of counts; 1 is random traffic, on a logarithmic scale';
  const source = 'counts in windows of 0.1 to 600 s; left out below 20 windows';
  return dots === '' ? '' : figure({ title, unit, source, lookFor }, dots);
}

/**
 * One row for each window, with all streams on one logarithmic scale, because values differ by magnitudes. A line marks
 * 1, the value of random traffic.
 */
function dispersionDots(streams: Dispersions): string {
  const rows = IDC_WINDOWS.filter((window) => streams.some(({ idc }) => idc[window] !== null));
  const values = streams
    .flatMap(({ idc }) => rows.map((window) => idc[window] ?? 0))
    .filter((each) => each > 0);
  if (rows.length < LEAST_WINDOWS || values.length === 0) return '';
  const bottom = rows.length * DOTS_ROW;
  const { ticks, shareOf } = logScale([...values, 1]);
  const x = (value: number) => `${(DOTS_FROM + shareOf(value) * (DOTS_TO - DOTS_FROM)).toFixed(1)}%`;
  const lines = ticks.map(
    (tick) =>
      `<line class="${tick === 1 ? 'soft' : 'grid'}" x1="${x(tick)}" x2="${x(tick)}" y1="0" y2="${bottom}"/><text x="${x(tick)}" y="${bottom + 16}" text-anchor="middle">${numberText(tick)}</text>`,
  );
  const drawn = streams.map(({ name }, at) => ({
    label: name,
    colour: COLOURS[at % COLOURS.length] ?? 'one',
  }));
  const dots = rows.map((window, row) => {
    const y = row * DOTS_ROW + DOTS_ROW / 2;
    const ofRow = streams.map(({ name, idc }, at) => {
      const value = idc[window];
      if (value === null) return '';
      // Placed above each other, so that equal values stay visible.
      const cy = y + (at - (streams.length - 1) / 2) * 6;
      return `<circle class="${drawn[at]?.colour}" cx="${x(value)}" cy="${cy}" r="5"><title>${escaped(`${name}, ${window} s: ${numberText(value)}`)}</title></circle>`;
    });
    return `<text x="0" y="${y + 4}">${window} s</text>${ofRow.join('')}`;
  });
  return `<p class="legend">${legendOf(drawn)}</p>${wide(bottom + 24, 'index of dispersion by window', [...lines, ...dots])}`;
}

/** A picture with the full available width. Positions are in percent, so that text keeps its size. */
function wide(height: number, description: string, parts: readonly string[]): string {
  return `<svg class="wide" height="${height}" role="img" aria-label="${escaped(description)}">${parts.join('')}</svg>`;
}

/** Vertical bars side by side. The axis labels the first, the middle and the last. */
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
  /** Row by row; null for an unknown value. */
  readonly values: readonly (number | null)[];
  readonly text: (value: number) => string;
  readonly description: string;
  /** Width for the names of rows. The default 40 fits a weekday. */
  readonly labelWidth?: number;
  /** Texts of framed cells by position in `values`. */
  readonly marks?: ReadonlyMap<number, string>;
}

const CELL_WIDTH = 24;
const CELL_HEIGHT = 20;
const LABEL_WIDTH = 40;
const HEADING = 18;
/** The minimum width in columns, so that a small map is not enlarged beyond a map of 24 hours. */
const LEAST_COLUMNS = 24;
/** The minimum opacity of a value above 0, so that it stays visible. */
const FAINTEST = 0.06;

/**
 * A grid of values: darker means greater. Cells without data have only an outline. Empty if all values are 0 or
 * unknown.
 */
export function heatMap({
  rows,
  columns,
  values,
  text,
  description,
  labelWidth = LABEL_WIDTH,
  marks: framed = new Map(),
}: HeatMapParts): string {
  const greatest = greatestOf(values);
  if (greatest === 0) return '';
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
      const mark = framed.get(row * columns.length + column);
      const frame =
        mark === undefined ? '' : `<rect class="framed" ${place}><title>${escaped(mark)}</title></rect>`;
      if (value === null) return `<rect class="none" ${place}/>${frame}`;
      const opacity = value === 0 || greatest === 0 ? 0 : FAINTEST + (1 - FAINTEST) * (value / greatest);
      return `<rect ${place} fill-opacity="${opacity.toFixed(3)}"><title>${escaped(label)} ${column}: ${escaped(text(value))}</title></rect>${frame}`;
    });
    return `<text x="0" y="${y + CELL_HEIGHT / 2 + 4}">${escaped(label)}</text>${cells.join('')}`;
  });
  return `<div class="heat scroll"><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(description)}">${marks.join('')}${lines.join('')}</svg></div><p class="soft">darkest: ${escaped(text(greatest))}; empty: 0; outlined: not known</p>`;
}

interface CurvePoint {
  /** At least 0 and below 100. */
  readonly percent: number;
  /** Null if nothing was measured. */
  readonly value: number | null;
  /** Whether there are enough samples. Otherwise the value is not drawn. */
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
 * Percentiles from the middle to the tail. The axis is logarithmic in the distance from 100, as in plots of
 * HdrHistogram: each further nine takes the same width. Values are on a logarithmic scale, so that a tail does not
 * flatten the rest.
 */
export function percentileCurve({ lines, text, description }: CurveParts): string {
  const drawn = lines.map(({ label, points }, at) => ({
    label,
    colour: COLOURS[at % COLOURS.length] ?? 'one',
    points: points.filter(
      (point): point is CurvePoint & { value: number } => point.value !== null && point.trusted,
    ),
  }));
  const values = drawn.flatMap(({ points }) => points.map(({ value }) => value)).filter((value) => value > 0);
  if (values.length === 0) return '';
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
      ({ percent, value }) =>
        `<circle class="${colour}" cx="${x(percent).toFixed(1)}" cy="${y.at(value)}" r="4"><title>${escaped(`${label} p${percent}: ${text(value)}`)}</title></circle>`,
    );
    return `<polyline class="${colour}" points="${line}"/>${marks.join('')}`;
  });
  return `<p class="legend">${legendOf(drawn)}</p><div class="curve scroll"><svg viewBox="0 0 ${CURVE_WIDTH} ${CURVE_HEIGHT}" role="img" aria-label="${escaped(description)}">${columns.join('')}${rows.join('')}${curves.join('')}</svg></div>`;
}

const AREA_KEY = 'M0 0h1v1h-1z';
const LINE_KEY = 'M0.4 0h0.2v1h-0.2z';
const LEVEL_KEY = 'M0 0.4h1v0.2h-1z';
/** Each tone has its own shape, as its points have in an interactive chart. */
const POINT_KEYS: Readonly<Record<Tone, string>> = {
  good: 'M0.1 0.5a0.4 0.4 0 1 0 0.8 0a0.4 0.4 0 1 0 -0.8 0',
  bad: 'M0.15 0.15h0.7v0.7h-0.7z',
  warn: 'M0.5 0l0.5 0.5l-0.5 0.5l-0.5 -0.5z',
  plain: 'M0.2 0.5a0.3 0.3 0 1 0 0.6 0a0.3 0.3 0 1 0 -0.6 0',
};

function legendOf(
  lines: readonly { readonly label: string; readonly colour: string; readonly form?: string }[],
): string {
  const keys = lines.map(
    ({ label, colour, form = AREA_KEY }) =>
      `<span><svg class="key" viewBox="0 0 1 1" aria-hidden="true"><path class="${colour}" d="${form}"/></svg>${escaped(label)}</span>`,
  );
  return keys.join('');
}

/** The vertical scale of latencies. */
function scaleOf(values: readonly number[]) {
  const { ticks, shareOf } = logScale(values);
  const height = CURVE_HEIGHT - CURVE_BOTTOM - CURVE_TOP;
  return { ticks, at: (value: number) => (CURVE_HEIGHT - CURVE_BOTTOM - shareOf(value) * height).toFixed(1) };
}

/**
 * A logarithmic scale from slightly below the least to slightly above the greatest value. The wider the range, the
 * fewer ticks in each magnitude.
 */
function logScale(values: readonly number[]): {
  readonly ticks: readonly number[];
  shareOf(value: number): number;
} {
  const from = Math.log10(Math.min(...values)) - 0.05;
  const to = Math.max(Math.log10(Math.max(...values)) + 0.05, from + 0.3);
  const magnitudes = to - from;
  const steps = magnitudes > 3 ? [1] : magnitudes > 1.5 ? [1, 3] : [1, 2, 5];
  const ticks: number[] = [];
  for (let magnitude = Math.floor(from); magnitude <= to; magnitude += 1) {
    for (const step of steps) {
      const tick = Number(`${step}e${magnitude}`);
      if (Math.log10(tick) >= from && Math.log10(tick) <= to) ticks.push(tick);
    }
  }
  return { ticks, shareOf: (value) => Math.max(0, (Math.log10(value) - from) / (to - from)) };
}

const RATIO_ROW = 46;
/** Margin at each end for an arrow, in percent of the width. */
const RATIO_EDGE = 5;
/** The minimum range on each side of 1, so that a small change does not look large. */
const LEAST_RATIO = 1.25;
const MOST_RATIO = 4;
/** In order of priority: a tick is left out if it is too near to an earlier one. */
const RATIO_TICKS = [1, 2, 0.5, 1.5, 0.67, 1.25, 0.8, 4, 0.25, 1.1, 0.9, 3, 0.33] as const;
const TICKS_APART = 11;

/**
 * The ratio of each latency with its intervals, over the full width, on a logarithmic scale around 1. Empty if there
 * are none. A line beyond the range ends in an arrow.
 * @param floor changes below it do not count; drawn as a band
 */
export function ratioPlot(metrics: readonly ComparedMetric[], floor: number): string {
  const known = metrics.filter(
    ({ unit, ratio, interval }) => unit === 'ms' && ratio !== null && interval !== null,
  );
  if (known.length === 0) return '';
  const ends = known.flatMap(({ interval }) => (interval ?? [1, 1]).map((end) => Math.max(end, 1 / end)));
  const most = Math.min(MOST_RATIO, Math.max(LEAST_RATIO, ...ends) * 1.05);
  const at = (ratio: number) => {
    const share = Math.max(-1, Math.min(1, Math.log(Math.max(1e-9, ratio)) / Math.log(most)));
    return ((share + 1) / 2) * (100 - 2 * RATIO_EDGE) + RATIO_EDGE;
  };
  const x = (ratio: number) => `${at(ratio).toFixed(2)}%`;
  const bottom = known.length * RATIO_ROW;
  const placed: number[] = [];
  for (const tick of RATIO_TICKS) {
    if (tick > most || tick < 1 / most) continue;
    if (placed.every((other) => Math.abs(at(other) - at(tick)) >= TICKS_APART)) placed.push(tick);
  }
  const ticks = placed.map(
    (value) =>
      `<line class="${value === 1 ? 'soft' : 'grid'}" x1="${x(value)}" x2="${x(value)}" y1="0" y2="${bottom}"/><text x="${x(value)}" y="${bottom + 18}" text-anchor="middle">${signedText(value)}</text>`,
  );
  const width = (at(1 + floor) - at(1 / (1 + floor))).toFixed(2);
  return wide(bottom + 46, 'ratios of latencies with their intervals', [
    `<rect class="floor" x="${x(1 / (1 + floor))}" y="0" width="${width}%" height="${bottom}"/>`,
    ...ticks,
    `<text x="0" y="${bottom + 38}">← B is faster</text><text x="100%" y="${bottom + 38}" text-anchor="end">B is slower →</text>`,
    ...known.map((metric, row) => ratioRow(metric, row * RATIO_ROW, x, most)),
  ]);
}

const TONES = { worse: 'bad', better: 'good', same: 'one', undecided: 'warn' } as const;

function ratioRow(
  { name, ratio, interval, interval90, verdict }: ComparedMetric,
  top: number,
  x: (ratio: number) => string,
  most: number,
): string {
  const y = top + 32;
  const tone = TONES[verdict];
  const outer = interval ?? [1, 1];
  const line = ([from, to]: readonly [number, number], width: number) =>
    `<line class="${tone}" x1="${x(from)}" x2="${x(to)}" y1="${y}" y2="${y}" stroke-width="${width}"/>`;
  const arrow = (ratioAt: number, path: string) =>
    `<svg class="arrow" x="${x(ratioAt)}" y="${y}"><path class="${tone}" d="${path}"/></svg>`;
  const text = `${metricName(name)}: ${timesText(ratio ?? 1)} (${verdict})`;
  return [
    line(outer, 2),
    line(interval90 ?? outer, 7),
    outer[0] < 1 / most ? arrow(outer[0], 'M-12 0l12 -6v12z') : '',
    outer[1] > most ? arrow(outer[1], 'M12 0l-12 -6v12z') : '',
    `<circle class="${tone}" cx="${x(ratio ?? 1)}" cy="${y}" r="7"/>`,
    `<text class="ink" x="0" y="${top + 16}">${escaped(text)}</text>`,
  ].join('');
}

interface SeriesParts
  extends FigureText,
    Pick<ChartData, 'id' | 'tall' | 'x' | 'marks' | 'band' | 'limits' | 'at' | 'stepS'> {
  readonly lines: readonly (Pick<ChartData['lines'][number], 'label' | 'values' | 'isPoints'> & {
    /** A colour of the page; absent if lines only have to differ. */
    readonly colour?: string;
  })[];
  readonly timeZone: string;
  /** The judgement of each time and its name: points show it. Values that only failed have may be beyond the axis. */
  readonly verdicts?: readonly { readonly tone: Tone; readonly label: string }[];
  /** Whether it grows while it is shown: its legend then has the last values. */
  readonly isLive?: boolean;
}

const SERIES_WIDTH = 800;
const SERIES_HEIGHT = 200;
const SIGNIFICANT = 4;
/** A limit above this multiple of all values is not drawn, because it would flatten them. */
const HIGHEST_LIMIT = 3;

const COUNTS: Scale = [
  [1, ''],
  [1e3, 'k'],
  [1e6, 'M'],
  [1e9, 'G'],
];
/** The units that an axis names itself. */
const SCALES: Readonly<Record<string, Scale>> = {
  ms: [
    [1, ' ms'],
    [1e3, ' s'],
    [6e4, ' min'],
    [3.6e6, ' h'],
  ],
  '%': [[1, ' %']],
  bytes: byteScale(''),
  'bytes/s': byteScale('/s'),
  'requests/s': COUNTS.map(([size, unit]) => [size, `${unit}/s`]),
};

function byteScale(per: string): Scale {
  return ['B', 'KiB', 'MiB', 'GiB', 'TiB'].map((unit, at) => [1024 ** at, ` ${unit}${per}`]);
}

function scaled(value: number, scale: Scale): string {
  const [size, unit] = scale.findLast(([least]) => Math.abs(value) >= least) ?? scale[0] ?? [1, ''];
  return value === 0 ? '0' : `${Number((value / size).toPrecision(3))}${unit}`;
}

/** A figure as a static picture. If scripts run, it is replaced by an interactive chart. */
export function timeSeries(parts: SeriesParts): { readonly html: string; readonly data: ChartData } {
  const { id, unit, at, stepS, tall, x, marks = [], band, limits = [], isLive = false } = parts;
  const all = greatestOf([...parts.lines.flatMap(({ values }) => values), band?.to ?? 0]);
  const unfailed = greatestUnfailed(parts);
  const greatest = all > unfailed * HIGHEST_LIMIT ? unfailed : all;
  const isBeyond = marks.some(({ isBad }) => isBad);
  const near = limits.filter((limit) => isBeyond || greatest === 0 || limit.at <= greatest * HIGHEST_LIMIT);
  const from = leastOf(parts, greatest);
  const data: ChartData = {
    id,
    scale: SCALES[unit] ?? COUNTS,
    ...(from !== null && { from }),
    ...(greatest < all && { to: greatestOf([greatest, ...near.map((limit) => limit.at)]) }),
    ...(parts.verdicts && { tones: parts.verdicts.map(({ tone }) => tone) }),
    at,
    ...(stepS && { stepS }),
    ...(tall && { tall }),
    ...(x && { x }),
    ...(marks.length > 0 && { marks }),
    ...(band && { band }),
    ...(near.length > 0 && { limits: near }),
    lines: parts.lines.map(({ label, values, isPoints, colour }, line) => ({
      label,
      colour: colour ?? COLOURS[line % COLOURS.length] ?? 'one',
      ...(isPoints && { isPoints }),
      values: values.map((value) => (value === null ? null : Number(value.toPrecision(SIGNIFICANT)))),
    })),
  };
  const last = ({ label, colour, values }: ChartData['lines'][number]) => {
    const value = values.at(-1) ?? null;
    return { label: `${label} ${value === null ? NONE : scaled(value, data.scale)}`, colour };
  };
  const keys = [
    ...(isLive ? data.lines.map(last) : data.lines),
    ...(band === undefined ? [] : [{ label: band.label, colour: 'band' }]),
    ...near.map(({ label }) => ({ label, colour: 'limit', form: LEVEL_KEY })),
    ...(x?.marks ?? []).map((mark) => ({ ...mark, form: LINE_KEY })),
    ...[...new Map(parts.verdicts?.map(({ tone, label }) => [label, tone]))].map(([label, tone]) => ({
      ...{ label, colour: tone, form: POINT_KEYS[tone] },
    })),
    ...[...new Map(marks.map(({ label, isBad }) => [label, isBad ? 'mark bad' : 'mark']))].map(
      ([label, colour]) => ({
        label,
        colour,
      }),
    ),
  ];
  const words = [
    ...(data.to === undefined ? [] : ['▲ beyond the axis']),
    ...(unit in SCALES ? [] : [`in ${unit}`]),
    ...limits.filter((limit) => !near.includes(limit)).map(({ label }) => `${label} lies far above`),
  ].map((each) => `<span>${escaped(each)}</span>`);
  const place = data.tall ? ' tall' : '';
  const field = (name: string) => (isLive ? ` data-field="${id}-${name}"` : '');
  const body = `<p class="legend"${field('legend')}>${legendOf(keys)}${words.join('')}</p><div class="interactive${place}" id="${id}"></div><div class="still${place}"${field('still')}>${still(data, parts)}</div>`;
  return { html: figure(parts, body), data };
}

/** The greatest value of the times that did not fail; of all times if they have no judgement, or all failed. */
function greatestUnfailed({ lines, verdicts }: Pick<SeriesParts, 'lines' | 'verdicts'>): number {
  const values = lines.flatMap((line) => line.values.filter((_, at) => verdicts?.[at]?.tone !== 'bad'));
  return greatestOf(values) || Number.POSITIVE_INFINITY;
}

/** From this ratio on, a band would be a line at the bottom of an axis that begins at 0. */
const FAR_APART = 10;

/** Where a logarithmic axis begins that shows a band and far greater values; null if both can be seen without it. */
function leastOf({ lines, band }: Pick<SeriesParts, 'lines' | 'band'>, greatest: number): number | null {
  if (band === undefined || band.from <= 0 || greatest < band.to * FAR_APART) return null;
  const values = lines.flatMap((line) => line.values).filter((value) => value !== null && value > 0);
  return 10 ** Math.floor(Math.log10(Math.min(band.from, ...(values as number[])) * 0.99));
}

/** A line needs two points, so with fewer times there is no chart. */
const LEAST_POINTS = 2;

/** The visible time series of a page, over the same times. */
export function drawnSeries(
  charts: readonly (Omit<SeriesParts, 'at'> & { readonly isShown: boolean })[],
  at: readonly number[],
) {
  if (at.length < LEAST_POINTS) return [];
  return charts.filter(({ isShown }) => isShown).map((chart) => timeSeries({ ...chart, at }));
}

/**
 * The static picture. Its lines stretch to the available width. Labels are placed in percent, so that they are not
 * stretched.
 */
function still(
  { at, lines, scale, from, to, tones, x, marks = [], band, limits = [] }: ChartData,
  { title, timeZone }: Pick<SeriesParts, 'title' | 'timeZone'>,
): string {
  const first = at[0];
  const last = at.at(-1);
  if (first === undefined || last === undefined) return '<p class="soft">nothing was measured</p>';
  const values = lines.flatMap((line) => line.values);
  const greatest = to ?? (greatestOf([...values, band?.to ?? 0, ...limits.map((limit) => limit.at)]) || 1);
  const axis = from === undefined ? null : logScale([from, greatest]);
  const shareOf = (value: number) =>
    axis?.shareOf(Math.max(value, from ?? 0)) ?? Math.min(value, greatest) / greatest;
  const heightOf = (value: number) => SERIES_HEIGHT - shareOf(value) * SERIES_HEIGHT * 0.97;
  const place = (value: number) =>
    Math.max(0, Math.min(1, (value - first) / (last - first || 1))) * SERIES_WIDTH;
  const level = (value: number, kind: string) =>
    `<line class="${kind}" x1="0" x2="${SERIES_WIDTH}" y1="${heightOf(value).toFixed(1)}" y2="${heightOf(value).toFixed(1)}"/>`;
  const ticks = axis?.ticks ?? ticksOf(greatest);
  const drawn = [
    band &&
      `<rect class="band" x="0" width="${SERIES_WIDTH}" y="${heightOf(band.to).toFixed(1)}" height="${Math.max(1, heightOf(band.from) - heightOf(band.to)).toFixed(1)}"/>`,
    ...marks.map(
      ({ from, to, label, isBad }) =>
        `<rect class="mark${isBad ? ' bad' : ''}" x="${Math.round(place(from))}" y="0" width="${Math.max(2, Math.round(place(to) - place(from)))}" height="${SERIES_HEIGHT}"><title>${escaped(label)}</title></rect>`,
    ),
    ...ticks.map((tick) => level(tick, 'grid')),
    ...limits.map((limit) => level(limit.at, 'limit')),
    ...(x?.marks ?? []).map(
      (mark) =>
        `<line class="mark ${mark.colour}" x1="${place(mark.at)}" x2="${place(mark.at)}" y1="0" y2="${SERIES_HEIGHT}"/>`,
    ),
    ...lines
      .filter(({ isPoints }) => !isPoints)
      .flatMap((line) =>
        stretchesOf(at, line.values, heightOf).map(
          (points) => `<polyline class="${line.colour}" points="${points}"/>`,
        ),
      ),
    ...lines
      .filter(({ isPoints }) => isPoints || tones)
      .flatMap((line) =>
        // A line without a length has ends, which the stretched picture does not stretch.
        at.flatMap((each, index) => {
          const value = line.values[index] ?? null;
          const point = `${place(each).toFixed(1)},${heightOf(value ?? 0).toFixed(1)}`;
          const colour = tones?.[index] ?? line.colour;
          return value === null ? [] : `<polyline class="${colour} point" points="${point} ${point}"/>`;
        }),
      ),
  ];
  const words = [
    ...ticks.map(
      (tick) =>
        `<text x="0" y="${share(heightOf(tick), SERIES_HEIGHT)}" dy="-3">${escaped(scaled(tick, scale))}</text>`,
    ),
  ];
  const time = (second: number) => zonedTime(second * 1e3, timeZone);
  const named =
    x === undefined
      ? [time(first), time((first + last) / 2), time(last)]
      : [numberText(first), x.label, numberText(last)];
  return `<svg role="img" aria-label="${escaped(title)}"><svg viewBox="0 0 ${SERIES_WIDTH} ${SERIES_HEIGHT}" preserveAspectRatio="none">${drawn.filter((each) => each !== undefined).join('')}</svg>${words.join('')}</svg><div class="axis">${named.map((each) => `<span>${escaped(each)}</span>`).join('')}</div>`;
}

function share(value: number, of: number): string {
  return `${((value / of) * 100).toFixed(1)}%`;
}

/** Round values above 0 up to the greatest, two to five of them. */
function ticksOf(greatest: number): number[] {
  const magnitude = 10 ** Math.floor(Math.log10(greatest));
  const step =
    [0.2, 0.5, 1, 2].map((each) => each * magnitude).find((each) => greatest / each < 5) ?? greatest;
  return Array.from({ length: Math.floor(greatest / step + 1e-9) }, (_, at) =>
    Number(((at + 1) * step).toPrecision(SIGNIFICANT)),
  );
}

/**
 * Polylines with one point for each pixel column: the maximum of its values, so that no peak is lost. A line is broken
 * where values are unknown between two columns. A single point becomes a dash.
 */
function stretchesOf(
  at: readonly number[],
  values: readonly (number | null)[],
  heightOf: (value: number) => number,
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
      // A column with another known value is not a gap.
      open &&= last?.has(x) ?? false;
      continue;
    }
    const tops = open && last !== undefined ? last : new Map<number, number>();
    if (tops !== last) stretches.push(tops);
    open = true;
    tops.set(x, Math.max(tops.get(x) ?? 0, value));
  }
  return stretches.map((tops) => {
    const points = [...tops].map(([x, value]) => `${x},${heightOf(value).toFixed(1)}`);
    const [only] = tops.keys();
    return points.length === 1 && only !== undefined
      ? `${points[0]} ${points[0]?.replace(/^\d+/, String(only + 2))}`
      : points.join(' ');
  });
}
