import type { Tone } from '../../core/text.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import { timeSeries } from '../render/charts.ts';
import {
  chartsJson,
  escaped,
  iconOf,
  kicker,
  type PageAssets,
  policyOf,
  type Tile,
  tableHtml,
  tilesOf,
} from '../render/html.ts';
import type { Table } from '../render/table.ts';
import type { Course } from './course.ts';

/** The contents of a live page at one moment, as texts to show. A `key` identifies an element of the page. */
export interface LiveView {
  readonly title: string;
  /** A state for programs, such as HEALTHY or GONE. `tone` says how good it is. */
  readonly state: string;
  readonly tone: Tone;
  /** The state in a word, and in a sentence. */
  readonly word: string;
  readonly sentence: string;
  readonly about: readonly string[];
  /** How much is done, 0 to 1; null if it has no end. */
  readonly progress: { readonly share: number; readonly text: string } | null;
  readonly tiles: readonly Tile[];
  readonly charts: readonly LiveChart[];
  readonly facts: readonly LiveFact[];
  readonly tables: readonly LiveTable[];
}

/** A name, the key of its element, and the value. An empty value is not shown. */
export type LiveFact = readonly [name: string, key: string, value: string];

export interface LiveTable extends Pick<Table, 'title' | 'columns' | 'rows' | 'toneOf'> {
  readonly key: string;
}

type Series = Parameters<typeof timeSeries>[0];

/** Values from the beginning to now. */
export interface LiveChart extends Pick<Series, 'title' | 'unit' | 'at' | 'limits' | 'lines' | 'stepS'> {
  readonly key: string;
  /** What its values are, where the title does not say it. */
  readonly note: string;
}

/** A chart without its lines. A line is a rate of what was counted, or a level. */
export interface LiveChartRow extends Pick<LiveChart, 'key' | 'title' | 'unit'> {
  readonly note?: string;
  readonly of: 'rates' | 'levels';
  /** Its lines are these metrics, so it has the limits of objectives on them. */
  readonly shows?: readonly Objective['metric'][];
  readonly lines: readonly { readonly label: string; readonly of: string; readonly colour?: string }[];
}

/** The charts of a course. A line without any value is left out. */
export function chartsOf(
  rows: readonly LiveChartRow[],
  course: Course,
  limitsOf: (row: LiveChartRow) => NonNullable<LiveChart['limits']> = () => [],
): LiveChart[] {
  return rows.map((row) => ({
    key: row.key,
    title: row.title,
    unit: row.unit,
    note: row.note ?? '',
    at: course.at,
    stepS: course.stepS,
    limits: limitsOf(row),
    lines: row.lines
      .map(({ of: name, ...line }) => ({ ...line, values: course[row.of](name) }))
      .filter(({ values }, at) => at === 0 || values.some((value) => value !== null)),
  }));
}

/** The view of a source that does not answer: the reason, without values. */
export function absentView(title: string, why: string): LiveView {
  const nothing = { about: [], progress: null, tiles: [], facts: [], charts: [], tables: [] };
  return { title, state: 'GONE', tone: 'bad', word: 'no answer', sentence: why, ...nothing };
}

/** The page of what ended as it was to. @param summary what it had at its end, and where to look now */
export function endedView(title: string, summary: string): LiveView {
  return { ...absentView(title, summary), state: 'ENDED', tone: 'plain', word: 'ended' };
}

/** The content security policy: only the page's own style and script, and requests to its own origin. */
export function livePolicy(assets: PageAssets): string {
  return policyOf(assets, ["connect-src 'self'", "frame-ancestors 'none'"]);
}

/** Without scripts, the page reloads at this interval. */
const RELOAD_S = 5;
const TIME_ZONE = 'UTC';

/**
 * A self-contained HTML page, which also works without scripts. The script requests the same page each second and
 * updates the changed parts. If the answer is no live page, it replaces this page. Send it with `livePolicy`.
 */
export function livePage(view: LiveView, assets: PageAssets): string {
  const drawn = view.charts.map(({ key, note, ...chart }) =>
    timeSeries({ ...chart, id: key, source: note, lookFor: '', timeZone: TIME_ZONE, isLive: true }),
  );
  const facts = view.facts.filter(([, , value]) => value !== '').map(factRow);
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
${kicker([view.title], TIME_ZONE)}
<div data-field="banner">${bannerHtml(view)}</div>
${progressHtml(view)}
<div data-field="tiles">${tilesOf(view.tiles, view.tiles.length)}</div>
<div class="charts">
${drawn.map(({ html }) => html).join('\n')}
</div>
<div class="tables">
${facts.length === 0 ? '' : `<dl class="numbers">${facts.join('\n')}</dl>`}
${view.tables.map(tableBox).join('\n')}
</div>
</main>
<noscript><p>JavaScript is off: this page loads itself again every ${RELOAD_S} seconds.</p></noscript>
${chartsJson(
  TIME_ZONE,
  drawn.map(({ data }) => data),
)}
<script type="module">${assets.script}</script>
</body>
</html>
`;
}

function bannerHtml({ tone, word, sentence, about }: LiveView): string {
  const lead = about.map((line) => `<p>${escaped(line)}</p>`).join('');
  return `<div class="banner ${tone}">${iconOf(tone)}<div><h1><span class="word" data-of="state">${escaped(word)}</span> <span data-of="sentence">${escaped(sentence)}</span></h1>${lead}</div></div>`;
}

function progressHtml({ progress }: LiveView): string {
  if (progress === null) return '';
  const { share, text } = progress;
  return `<p class="progress" data-field="progress"><progress max="1" value="${share.toFixed(3)}" aria-label="progress of the run"></progress><span>${escaped(text)}</span></p>`;
}

function factRow([name, key, value]: LiveFact): string {
  return `<div><dt>${escaped(name)}</dt><dd data-field="${key}">${escaped(value)}</dd></div>`;
}

function tableBox({ key, ...table }: LiveTable): string {
  return `<div data-field="${key}"><h2>${escaped(table.title)}</h2>${tableHtml(table)}</div>`;
}
