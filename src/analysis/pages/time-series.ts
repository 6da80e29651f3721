import { COLOURS, type Colour } from './bars.ts';
import { escaped } from './escape.ts';
import { type FigureText, figure } from './figure.ts';

/** What a script draws. Times are epoch seconds. */
export interface ChartData {
  readonly id: string;
  readonly unit: string;
  readonly at: readonly number[];
  readonly lines: readonly {
    readonly label: string;
    readonly colour: Colour;
    readonly values: readonly (number | null)[];
  }[];
}

export interface TimeSeriesParts extends FigureText {
  /** Unique on its page; letters and dashes. */
  readonly id: string;
  readonly at: readonly number[];
  readonly lines: readonly { readonly label: string; readonly values: readonly (number | null)[] }[];
}

const WIDTH = 800;
const HEIGHT = 200;
const SIGNIFICANT = 4;

/** A figure that stands as a picture, and is drawn anew where a script runs. */
export function timeSeries(parts: TimeSeriesParts): { readonly html: string; readonly data: ChartData } {
  const data: ChartData = {
    id: parts.id,
    unit: parts.unit,
    at: parts.at,
    lines: parts.lines.map(({ label, values }, at) => ({
      label,
      colour: COLOURS[at % COLOURS.length] ?? 'one',
      values: values.map((value) => (value === null ? null : Number(value.toPrecision(SIGNIFICANT)))),
    })),
  };
  const body = `<div class="live" id="${parts.id}"></div><div class="still">${still(data, parts.title)}</div>`;
  return { html: figure(parts, body), data };
}

function still({ at, lines, unit }: ChartData, title: string): string {
  const first = at[0];
  const last = at.at(-1);
  if (first === undefined || last === undefined) return '<p class="soft">nothing was measured</p>';
  const greatest = lines.reduce(
    (most, { values }) => values.reduce<number>((inner, value) => Math.max(inner, value ?? 0), most),
    0,
  );
  const polylines = lines.flatMap(({ colour, values }) =>
    stretchesOf(at, values, greatest || 1).map(
      (points) => `<polyline class="${colour}" points="${points}"/>`,
    ),
  );
  const legend = lines.map(
    ({ label, colour }) =>
      `<svg class="key" viewBox="0 0 1 1" aria-hidden="true"><rect class="${colour}" width="1" height="1"/></svg>${escaped(label)}`,
  );
  return `<p class="legend">top: ${escaped(String(greatest))} ${escaped(unit)}${legend.join('')}</p><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${escaped(title)}">${polylines.join('')}</svg><div class="axis"><span>${instant(first, last - first)}</span><span>${instant(last, last - first)}</span></div>`;
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
    const x = Math.round(((second - first) / span) * WIDTH);
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
      ([x, value]) => `${x},${(HEIGHT - (value / greatest) * HEIGHT * 0.97).toFixed(1)}`,
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
