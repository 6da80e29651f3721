import type { ComparedMetric } from '../../documents/comparison.ts';
import { escaped } from './escape.ts';

const WIDTH = 260;
const ROW = 34;
/** On either side of no change, in logarithms: halves and doubles. */
const MOST = Math.log(2);

/** The ratio of each latency with its intervals, on a logarithmic scale about no change. */
export function ratioPlot(metrics: readonly ComparedMetric[], floor: number): string {
  const known = metrics.filter(
    ({ unit, ratio, interval }) => unit === 'ms' && ratio !== null && interval !== null,
  );
  if (known.length === 0) return '<p class="soft">too few pairs for an interval</p>';
  const height = known.length * ROW + 24;
  const [low, high] = [xOf(1 / (1 + floor)), xOf(1 + floor)];
  const band = `<rect x="${low}" y="0" width="${high - low}" height="${height - 22}" fill="var(--line)"/><line x1="${xOf(1)}" x2="${xOf(1)}" y1="0" y2="${height - 22}" stroke="var(--soft)"/>`;
  const ticks = [0.5, 0.7, 1, 1.4, 2].map(
    (value) =>
      `<text x="${xOf(value)}" y="${height - 6}" text-anchor="middle" fill="var(--soft)" font-size="12">× ${value}</text>`,
  );
  return `<div class="scroll"><svg viewBox="-40 0 ${WIDTH + 80} ${height}" width="100%" height="${height}" preserveAspectRatio="xMinYMid" role="img" aria-label="ratios of latencies with their intervals">${band}${known.map(rowOf).join('')}${ticks.join('')}</svg></div>`;
}

function rowOf({ name, ratio, interval, interval90, verdict }: ComparedMetric, at: number): string {
  const y = at * ROW + 24;
  const [outer, inner] = [interval ?? [1, 1], interval90 ?? [1, 1]];
  const colour = verdict === 'worse' ? 'var(--bad)' : verdict === 'better' ? 'var(--good)' : 'var(--one)';
  const line = (from: number, to: number, width: number) =>
    `<line x1="${xOf(from)}" x2="${xOf(to)}" y1="${y}" y2="${y}" stroke="${colour}" stroke-width="${width}"/>`;
  return `${line(outer[0], outer[1], 2)}${line(inner[0], inner[1], 6)}<circle cx="${xOf(ratio ?? 1)}" cy="${y}" r="6" fill="${colour}"/><text x="0" y="${y - 9}" fill="var(--ink)" font-size="13">${escaped(name)}</text>`;
}

/** Ratios beyond half and double end at the edge. */
function xOf(ratio: number): number {
  const share = Math.max(-1, Math.min(1, Math.log(Math.max(1e-9, ratio)) / MOST));
  return Math.round(((share + 1) / 2) * WIDTH);
}
