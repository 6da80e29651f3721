import { COLOURS } from './bars.ts';
import { escaped } from './escape.ts';

export interface CurvePoint {
  /** From 0 to below 100. */
  readonly percent: number;
  /** Null where nothing was measured. */
  readonly value: number | null;
  /** A value that rests on too few samples is drawn hollow. */
  readonly trusted: boolean;
}

export interface CurveParts {
  readonly lines: readonly { readonly label: string; readonly points: readonly CurvePoint[] }[];
  readonly text: (value: number) => string;
  readonly description: string;
}

const WIDTH = 800;
const HEIGHT = 260;
const LEFT = 74;
const RIGHT = 24;
const TOP = 12;
const BOTTOM = 24;

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
  const x = (percent: number) => LEFT + ((ninesOf(percent) - least) / span) * (WIDTH - LEFT - RIGHT);
  const columns = percents.map(
    (percent) =>
      `<line x1="${x(percent).toFixed(1)}" x2="${x(percent).toFixed(1)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/><text x="${x(percent).toFixed(1)}" y="${HEIGHT - 6}" text-anchor="middle">p${percent}</text>`,
  );
  const rows = y.ticks.map(
    (tick) =>
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y.at(tick)}" y2="${y.at(tick)}"/><text x="${LEFT - 6}" y="${Number(y.at(tick)) + 4}" text-anchor="end">${escaped(text(tick))}</text>`,
  );
  const curves = drawn.map(({ label, colour, points }) => {
    const line = points.map(({ percent, value }) => `${x(percent).toFixed(1)},${y.at(value)}`).join(' ');
    const marks = points.map(
      ({ percent, value, trusted }) =>
        `<circle class="${colour}${trusted ? '' : ' hollow'}" cx="${x(percent).toFixed(1)}" cy="${y.at(value)}" r="4"><title>${escaped(`${label} p${percent}: ${text(value)}${trusted ? '' : ' (too few samples)'}`)}</title></circle>`,
    );
    return `<polyline class="${colour}" points="${line}"/>${marks.join('')}`;
  });
  const legend = drawn.map(
    ({ label, colour }) =>
      `<svg class="key" viewBox="0 0 1 1" aria-hidden="true"><rect class="${colour}" width="1" height="1"/></svg>${escaped(label)}`,
  );
  return `<p class="legend">${legend.join('')}; hollow: too few samples</p><div class="curve scroll"><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(description)}">${columns.join('')}${rows.join('')}${curves.join('')}</svg></div>`;
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
      return (HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)).toFixed(1);
    },
  };
}
