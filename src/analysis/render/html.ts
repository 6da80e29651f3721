import { createHash } from 'node:crypto';
import { shownLines, type Tone } from '../../core/text.ts';
import { type Finding, type Section, type Table, type View, withoutRepeats } from './table.ts';

/** Text as it may stand in HTML, between tags or within quotes. Everything recorded goes through here. */
export function escaped(text: string): string {
  return shownLines(text).replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}

/** JSON as it may stand in a script element: nothing in it ends the element or begins a comment. */
function scriptJson(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll('<', '\\u003c')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}

/** The assets of a page, as in their files. The caller reads the files. */
export interface PageAssets {
  readonly script: string;
  readonly style: string;
}

/** A policy that allows this script and this style and nothing else. */
export function policyOf({ script, style }: PageAssets, more: readonly string[] = []): string {
  return [
    "default-src 'none'",
    `style-src '${hashOf(style)}'`,
    `script-src '${hashOf(script)}'`,
    ...more,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
}

/** The source expression of a policy that allows this very text. */
function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}

/** A window of time that a chart marks. */
export interface ChartMark {
  readonly label: string;
  readonly from: number;
  readonly to: number;
  /** Whether values there are too great to be drawn. */
  readonly isBad?: boolean;
}

/** What a script draws. Times are epoch seconds. */
export interface ChartData {
  readonly id: string;
  readonly unit: string;
  /** The chart that a page begins with is taller than the others. */
  readonly tall?: boolean;
  /** What lies along the chart, with places that are marked; left out for time. */
  readonly x?: {
    readonly label: string;
    readonly marks: readonly {
      readonly label: string;
      readonly at: number;
      readonly colour: string;
      /** Whether the label stands before its line. */
      readonly isBefore: boolean;
    }[];
  };
  readonly marks?: readonly ChartMark[];
  /** Values that are usual, from one to another. */
  readonly band?: { readonly label: string; readonly from: number; readonly to: number };
  /** A value that is not to be passed. */
  readonly limit?: { readonly label: string; readonly at: number };
  readonly at: readonly number[];
  readonly lines: readonly {
    readonly label: string;
    readonly colour: string;
    readonly values: readonly (number | null)[];
  }[];
}

interface PageParts {
  readonly title: string;
  /** HTML that was escaped where it holds recorded text; empty parts are left out. */
  readonly body: readonly string[];
  readonly charts: readonly ChartData[];
  /** For the times on charts; a name such as `Europe/Berlin`. */
  readonly timeZone: string;
}

/**
 * One self-contained page: no request leaves it, and its policy would stop one. Everything of it can be read without
 * JavaScript; the script only makes time series that can be zoomed out of those that stand there.
 */
export function page({ title, body, charts, timeZone }: PageParts, assets: PageAssets): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policyOf(assets)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escaped(title)}</title>
<style>${assets.style}</style>
</head>
<body>
<main>
${body.filter((part) => part !== '').join('\n')}
<p class="soft">Percentiles are good to 0.1 %; unknown values are shown as “–”. This page holds no payload.</p>
</main>
<script type="application/json" id="charts">${scriptJson({ timeZone, charts })}</script>
<script type="module">${assets.script}</script>
</body>
</html>
`;
}

/** What every chart says of itself. */
export type FigureText = Pick<Table, 'title' | 'unit' | 'source' | 'lookFor'>;

/** A chart with its words. `body` is HTML. */
export function figure({ title, unit, source, lookFor }: FigureText, body: string): string {
  return `<figure><h3>${escaped(title)}</h3>${body}<figcaption>Look for: ${escaped(lookFor)}.<br><small>Unit: ${escaped(unit)}. Source: ${escaped(source)}.</small></figcaption></figure>`;
}

/** A table; on a narrow screen each row is a card in which each value stands under the title of its column. */
export function tableHtml({
  title,
  columns,
  rows,
  toneOf = () => null,
}: Pick<Table, 'title' | 'columns' | 'rows' | 'toneOf'>): string {
  const head = columns.map((column) => `<th class="${column.kind}">${escaped(column.title)}</th>`);
  const lines = rows.map((row) => {
    const cells = columns.map(({ kind, title: of }, at) => {
      const cell = row[at] ?? '';
      const tone = toneOf(cell);
      return `<td class="${kind}${tone === null ? '' : ` ${tone}`}" data-of="${escaped(of)}">${escaped(cell)}</td>`;
    });
    return `<tr>${cells.join('')}</tr>`;
  });
  return `<div class="scroll" role="region" tabindex="0" aria-label="${escaped(title)}"><table><thead><tr>${head.join('')}</tr></thead><tbody>${lines.join('')}</tbody></table></div>`;
}

/** One figure that a page begins with. */
export interface Tile {
  readonly label: string;
  readonly value: string;
  /** How it was judged, in a word; left out for what is not judged. */
  readonly state?: { readonly tone: Tone; readonly word: string };
  /** What it is to be held against; empty for nothing. */
  readonly note: string;
}

/** The most that fit beside the chart on a first screen. */
const MOST_TILES = 6;

/** The figures that matter most. Those beyond six are in the tables below. */
export function tilesOf(tiles: readonly Tile[]): string {
  const items = tiles.slice(0, MOST_TILES).map(({ label, value, state, note }) => {
    const judged =
      state === undefined ? '' : `<span class="state">${iconOf(state.tone)}${escaped(state.word)}</span>`;
    return `<li class="${state?.tone ?? 'plain'}"><span class="what">${escaped(label)}</span><b>${escaped(value)}</b>${judged}<span class="soft">${escaped(note)}</span></li>`;
  });
  return items.length === 0 ? '' : `<ul class="tiles">${items.join('')}</ul>`;
}

/** Each tone has its shape, for readers who cannot tell the colours apart: a disc with a tick, an octagon, a triangle. */
const FORMS: Readonly<Record<Tone, string>> = {
  good: '<circle cx="12" cy="12" r="11"/><path d="M6.5 12.5l4 4 7-8.5"/>',
  bad: '<path class="form" d="M7.5 1h9L23 7.5v9L16.5 23h-9L1 16.5v-9z"/><path d="M8 8l8 8M16 8l-8 8"/>',
  warn: '<path class="form" d="M12 1.5L23 22H1z"/><path d="M12 9v6M12 18v1.5"/>',
  plain: '<circle cx="12" cy="12" r="11"/><path d="M7 12h10"/>',
};

function iconOf(tone: Tone): string {
  return `<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">${FORMS[tone]}</svg>`;
}

/** What a page says before anything else: what was found, in one word and one sentence, and in which zone it tells times. */
export function banner(
  { title, verdict, tone, headline, lines }: Pick<View, 'title' | 'verdict' | 'tone' | 'headline' | 'lines'>,
  timeZone: string,
): string {
  const lead = lines[0] === undefined ? '' : `<p class="lead">${escaped(lines[0])}</p>`;
  return `<header><p class="kicker"><span>${escaped(title)}</span> <span>All times: ${escaped(timeZone)}</span></p><div class="banner ${tone}">${iconOf(tone)}<div><h1 class="verdict"><span class="word">${escaped(verdict ?? 'no verdict')}</span> ${escaped(headline)}</h1>${lead}</div></div></header>`;
}

/** A part of a page that is folded until it is asked for. `html` may be empty: then it is left out. */
export interface Part {
  /** Letters, digits and dashes; unique on its page. */
  readonly id: string;
  readonly title: string;
  readonly html: string;
}

/** Folded parts under their table of contents. A link opens its part: browsers do so for what lies within. */
export function foldedParts(parts: readonly Part[]): string {
  const shown = parts.filter(({ html }) => html !== '');
  if (shown.length === 0) return '';
  const links = shown.map(({ id, title }) => `<li><a href="#${id}">${escaped(title)}</a></li>`);
  const folded = shown.map(
    ({ id, title, html }) =>
      `<details><summary><h2>${escaped(title)}</h2></summary><div id="${id}">${html}</div></details>`,
  );
  return `<nav aria-label="Contents"><h2>Contents</h2><ol>${links.join('')}</ol></nav>${folded.join('')}`;
}

/** Sentences, what matters most first. */
export function findings(sentences: readonly string[]): string {
  return `<ul class="findings">${sentences.map((sentence) => `<li>${escaped(sentence)}</li>`).join('')}</ul>`;
}

/** A section under a heading; nothing where its body is empty. */
export function section(title: string, body: string): string {
  return body === '' ? '' : `<section><h2>${escaped(title)}</h2>${body}</section>`;
}

interface ViewPageParts {
  /** Of the window; the page itself has that of its view. */
  readonly title: string;
  /** What the first screen shows below the verdict: HTML. */
  readonly first: string;
  readonly parts: readonly Part[];
  readonly charts: readonly { readonly data: ChartData }[];
  readonly timeZone: string;
}

/** A view as a page: the verdict and its figures on the first screen, then what to look at, then the rest, folded. */
export function viewPage(
  view: View,
  { title, first, parts, charts, timeZone }: ViewPageParts,
  assets: PageAssets,
): string {
  const about = view.lines.slice(1).map((line) => `<li>${escaped(line)}</li>`);
  const body = [
    banner(view, timeZone),
    first,
    section('What to look at', findingList(view.reasons)),
    foldedParts([
      ...parts,
      { id: 'notes', title: `Notes (${view.notes.length})`, html: findingList(view.notes) },
      { id: 'about', title: 'About this page', html: about.length === 0 ? '' : `<ul>${about.join('')}</ul>` },
    ]),
  ];
  return page({ title, body, charts: charts.map(({ data }) => data), timeZone }, assets);
}

/** Why the verdict is what it is, or notes; nothing where there are none. */
function findingList(list: readonly Finding[]): string {
  if (list.length === 0) return '';
  return `<ul class="findings reasons">${withoutRepeats(list).map(findingItem).join('')}</ul>`;
}

function findingItem({ code, text, title, means = '', advice }: Finding): string {
  const parts = [
    `<p>${title === undefined ? '' : `<strong>${escaped(title)}</strong> `}<code>${escaped(code)}</code></p><p>${escaped(text)}</p>`,
    means === '' ? '' : `<p class="soft">${escaped(means)}</p>`,
    advice === '' ? '' : `<p class="todo"><b>To do:</b> ${escaped(advice)}</p>`,
  ];
  return `<li>${parts.join('')}</li>`;
}

/** Tables of a section as a folded part, with HTML that goes before them or behind. */
export function tablesPart({ key, title, tables }: Section, before = '', behind = ''): Part {
  const html = `${before}${tables.map((table) => figure(table, tableHtml(table))).join('')}${behind}`;
  return { id: key, title, html };
}
