import { escaped, type PageAssets, policyOf, tableHtml } from '../render/html.ts';
import { columnsOf, NONE } from '../render/table.ts';

/** The contents of a live page at one moment, as texts to show. A `key` identifies an element of the page. */
export interface LiveView {
  readonly title: string;
  /** A state for programs, such as HEALTHY or GONE. `tone` says how good it is. */
  readonly state: string;
  readonly tone: 'good' | 'warn' | 'bad' | 'soft';
  readonly badge: string;
  readonly why: string;
  readonly about: readonly string[];
  readonly facts: readonly LiveFact[];
  readonly charts: readonly LiveChart[];
  readonly tables: readonly LiveTable[];
}

/** A name, the key of its element, and the value. An empty value is not shown. */
export type LiveFact = readonly [name: string, key: string, value: string];

export interface LiveTable {
  readonly key: string;
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Values of the last seconds, oldest first; null for a missing value. */
export interface LiveChart {
  readonly key: string;
  readonly caption: string;
  readonly lines: readonly { readonly label: string; readonly values: readonly (number | null)[] }[];
  /** Limits, drawn as horizontal lines. */
  readonly limits: readonly { readonly label: string; readonly at: number }[];
  readonly text: (value: number) => string;
}

/** The view of a source that does not answer: the reason, without values. */
export function absentView(title: string, why: string): LiveView {
  const nothing = { about: [], facts: [], charts: [], tables: [] };
  return { title, state: 'GONE', tone: 'bad', badge: 'no answer', why, ...nothing };
}

/** The content security policy: only the page's own style and script, and requests to its own origin. */
export function livePolicy(assets: PageAssets): string {
  return policyOf(assets, ["connect-src 'self'", "frame-ancestors 'none'"]);
}

/** Without scripts, the page reloads at this interval. */
const RELOAD_S = 5;

/**
 * A self-contained HTML page, which also works without scripts. The script requests the same page each second and
 * updates the changed parts. If the answer is no live page, it replaces this page. Send it with `livePolicy`.
 */
export function livePage(view: LiveView, assets: PageAssets): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<noscript><meta http-equiv="refresh" content="${RELOAD_S}"></noscript>
<title>Reprise: ${escaped(view.title)}</title>
<style>${assets.style}</style>
</head>
<body>
<main data-live data-state="${escaped(view.state)}">
<header><h1>${escaped(view.title)}</h1> <span class="badge ${view.tone}" data-field="state">${escaped(view.badge)}</span> <span data-field="why">${escaped(view.why)}</span></header>
<div data-field="about">${view.about.map((line) => `<p>${escaped(line)}</p>`).join('')}</div>
<dl class="facts">
${view.facts.map(factCard).join('\n')}
</dl>
<div class="charts">
${view.charts.map(chartFigure).join('\n')}
</div>
<div class="tables">
${view.tables.map(tableBox).join('\n')}
</div>
</main>
<noscript><p>JavaScript is off: this page loads itself again every ${RELOAD_S} seconds.</p></noscript>
<script type="module">${assets.script}</script>
</body>
</html>
`;
}

function factCard([name, key, value]: LiveFact): string {
  if (value === '') return '';
  return `<div><dt>${escaped(name)}</dt><dd data-field="${key}">${escaped(value)}</dd></div>`;
}

function tableBox({ key, title, columns, rows }: LiveTable): string {
  const named = columnsOf(columns.slice(0, 1), columns.slice(1));
  return `<div data-field="${key}"><h2>${escaped(title)}</h2>${tableHtml({ title, columns: named, rows })}</div>`;
}

/** The minimum width of a chart's time axis. */
const LEAST_SECONDS = 60;
const WIDTH = 600;
const HEIGHT = 120;
const COLOURS = ['one', 'two', 'three'] as const;

function chartFigure({ key, caption, lines, limits, text }: LiveChart): string {
  const values = lines.flatMap((line) => line.values.filter((value) => value !== null));
  const top = Math.max(...values, ...limits.map(({ at }) => at), 0) || 1;
  const y = (value: number) => (HEIGHT - 2 - (value / top) * (HEIGHT - 8)).toFixed(1);
  const seconds = Math.max(LEAST_SECONDS, ...lines.map((line) => line.values.length));
  const drawn = lines.map((line, at) =>
    stretchesOf(line.values, seconds, y).map(
      (points) => `<polyline class="${COLOURS[at % COLOURS.length]}" points="${points}"/>`,
    ),
  );
  const across = limits.map(({ at }) => `<line x1="0" x2="${WIDTH}" y1="${y(at)}" y2="${y(at)}"/>`);
  const legend = lines.map(({ label, values: of }, at) => {
    const last = of.at(-1) ?? null;
    return `<span class="series ${COLOURS[at % COLOURS.length]}">${escaped(label)} ${last === null ? NONE : escaped(text(last))}</span>`;
  });
  const named = limits.map(({ label }) => `<span class="series limit">${escaped(label)}</span>`);
  return `<figure data-field="${key}"><figcaption>${escaped(caption)} Top: ${values.length === 0 ? NONE : escaped(text(top))}.</figcaption><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${escaped(caption)}">${across.join('')}${drawn.flat().join('')}</svg><p class="legend">${[...legend, ...named].join(' ')}</p></figure>`;
}

/**
 * Polylines of the values, with the newest at the right end. A null interrupts the line, and a single value becomes a
 * dash.
 */
function stretchesOf(
  values: readonly (number | null)[],
  seconds: number,
  y: (value: number) => string,
): string[] {
  const step = WIDTH / (seconds - 1);
  const from = seconds - values.length;
  const stretches: string[][] = [];
  let isOpen = false;
  for (const [at, value] of values.entries()) {
    const x = (from + at) * step;
    if (value === null) isOpen = false;
    else {
      if (!isOpen) stretches.push([`${(x - step / 2).toFixed(1)},${y(value)}`]);
      stretches.at(-1)?.push(`${x.toFixed(1)},${y(value)}`);
      isOpen = true;
    }
  }
  return stretches.map((points) => points.join(' '));
}
