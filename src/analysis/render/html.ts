import { createHash } from 'node:crypto';
import { shownLines, type Tone } from '../../core/text.ts';
import { type Finding, type Section, type Table, type View, withoutRepeats } from './table.ts';

/** Escapes text for HTML, between tags or within quotes. All recorded text must be escaped with it. */
export function escaped(text: string): string {
  return shownLines(text).replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}

/** JSON that is safe in a script element: it cannot end the element or begin a comment. */
function scriptJson(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll('<', '\\u003c')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}

/** The assets of a page, unchanged from their files. The caller reads the files. */
export interface PageAssets {
  readonly script: string;
  readonly style: string;
}

/** A content security policy that allows only this script and this style. */
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

/** The source expression that allows exactly this text in a policy. */
function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}

/** A time window to mark in a chart. */
export interface ChartMark {
  readonly label: string;
  readonly from: number;
  readonly to: number;
  /** Whether the values in it are too great to be drawn. */
  readonly isBad?: boolean;
}

/** Units by size, ascending. A value is shown in the greatest unit that it reaches, as `[1e3, ' s']` for ms. */
export type Scale = readonly (readonly [size: number, unit: string])[];

/** The data of an interactive chart. Times are epoch seconds. */
export interface ChartData {
  readonly id: string;
  /** How its axis and the values under the pointer are written. */
  readonly scale: Scale;
  /** The least value of a logarithmic axis; absent if the axis begins at 0. */
  readonly from?: number;
  /** Where the axis ends; absent if it has room for all values. Points beyond are drawn at the edge. */
  readonly to?: number;
  /** The judgement of each time, for the forms of its points. */
  readonly tones?: readonly Tone[];
  /** Whether it is the first chart of the page, which is taller. */
  readonly tall?: boolean;
  /** The x axis and its marked positions; absent if the x axis is time. */
  readonly x?: {
    readonly label: string;
    readonly marks: readonly {
      /** For the legend: beside the lines, labels would cross each other on a narrow screen. */
      readonly label: string;
      readonly at: number;
      readonly colour: string;
    }[];
  };
  readonly marks?: readonly ChartMark[];
  /** The range of usual values. */
  readonly band?: { readonly label: string; readonly from: number; readonly to: number };
  /** Limits for the values. */
  readonly limits?: readonly { readonly label: string; readonly at: number }[];
  readonly at: readonly number[];
  /** The usual distance of times: a line is broken at a longer one. Absent if it is that of the first two. */
  readonly stepS?: number;
  readonly lines: readonly {
    readonly label: string;
    readonly colour: string;
    readonly values: readonly (number | null)[];
    /** Whether only its points are drawn, because nothing is known between them. */
    readonly isPoints?: boolean;
  }[];
}

interface PageParts {
  readonly title: string;
  /** HTML in which recorded text is escaped. Empty parts are left out. */
  readonly body: readonly string[];
  readonly charts: readonly ChartData[];
  /** Time zone of the charts' times, such as `Europe/Berlin`. */
  readonly timeZone: string;
}

/**
 * A self-contained page: it makes no requests, and its policy forbids them. Everything is readable without JavaScript.
 * The script only replaces static time series by charts with zoom.
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
${chartsJson(timeZone, charts)}
<script type="module">${assets.script}</script>
</body>
</html>
`;
}

/** The data of the charts of a page, for its script. */
export function chartsJson(timeZone: string, charts: readonly ChartData[]): string {
  return `<script type="application/json" id="charts">${scriptJson({ timeZone, charts })}</script>`;
}

/** The texts that every chart has. */
export type FigureText = Pick<Table, 'title' | 'unit' | 'source' | 'lookFor' | 'notes'>;

/** A chart with its texts. `body` is HTML. A live chart says nothing of what to look for. */
export function figure({ title, unit, source, lookFor, notes = [] }: FigureText, body: string): string {
  const caption =
    lookFor === ''
      ? escaped(source)
      : `Look for: ${escaped(lookFor)}.<br><small>Unit: ${escaped(unit)}. Source: ${escaped(source)}.</small>`;
  const below = notes.map((note) => `<p>${escaped(note)}</p>`).join('');
  return `<figure><h3>${escaped(title)}</h3>${body}${below}<figcaption>${caption}</figcaption></figure>`;
}

/** A table. On a narrow screen its first column stays, while the others are scrolled. */
export function tableHtml({
  title,
  columns,
  rows,
  toneOf = () => null,
}: Pick<Table, 'title' | 'columns' | 'rows' | 'toneOf'>): string {
  const head = columns.map((column) => `<th class="${column.kind}">${escaped(column.title)}</th>`);
  const lines = rows.map((row) => {
    const cells = columns.map(({ kind }, at) => {
      const cell = row[at] ?? '';
      const tone = toneOf(cell, at);
      return `<td class="${kind}${tone === null ? '' : ` ${tone}`}">${escaped(cell)}</td>`;
    });
    return `<tr>${cells.join('')}</tr>`;
  });
  return `<div class="scroll" role="region" tabindex="0" aria-label="${escaped(title)}"><table><thead><tr>${head.join('')}</tr></thead><tbody>${lines.join('')}</tbody></table></div>`;
}

/** A key figure at the top of a page. */
export interface Tile {
  readonly label: string;
  readonly value: string;
  /** The judgement in a word; absent if it is not judged. */
  readonly state?: { readonly tone: Tone; readonly word: string };
  /** A value to compare it with; may be empty. */
  readonly note: string;
}

/** The number of tiles that fit beside the chart on the first screen. */
const MOST_TILES = 6;

/** Values whose units stay on their line. */
function unbroken(text: string): string {
  return text.replaceAll(/(?<=\d) (?=[^\d→])/g, '\u00a0');
}

/** The most important figures. Those beyond `most` are in the tables below. */
export function tilesOf(tiles: readonly Tile[], most = MOST_TILES): string {
  const items = tiles.slice(0, most).map(({ label, value, state, note }) => {
    const judged =
      state === undefined ? '' : `<span class="state">${iconOf(state.tone)}${escaped(state.word)}</span>`;
    return `<li class="${state?.tone ?? 'plain'}"><span class="what">${escaped(label)}</span><b>${escaped(unbroken(value))}</b>${judged}<span class="soft">${escaped(note)}</span></li>`;
  });
  return items.length === 0 ? '' : `<ul class="tiles">${items.join('')}</ul>`;
}

/**
 * Each tone has its own shape, for readers who cannot distinguish the colours: a disc with a tick, an octagon, a
 * triangle.
 */
const FORMS: Readonly<Record<Tone, string>> = {
  good: '<circle cx="12" cy="12" r="11"/><path d="M6.5 12.5l4 4 7-8.5"/>',
  bad: '<path class="form" d="M7.5 1h9L23 7.5v9L16.5 23h-9L1 16.5v-9z"/><path d="M8 8l8 8M16 8l-8 8"/>',
  warn: '<path class="form" d="M12 1.5L23 22H1z"/><path d="M12 9v6M12 18v1.5"/>',
  plain: '<circle cx="12" cy="12" r="11"/><path d="M7 12h10"/>',
};

export function iconOf(tone: Tone): string {
  return `<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">${FORMS[tone]}</svg>`;
}

/** The top of a page: the result in one word and one sentence, and the time zone of the page. */
export function banner(
  {
    title,
    verdict,
    tone,
    headline,
    lines,
    facts = [],
    tested = [],
  }: Pick<View, 'title' | 'verdict' | 'tone' | 'headline' | 'lines' | 'facts' | 'tested'>,
  timeZone: string,
): string {
  const lead = [...lines.slice(0, 1), ...tested]
    .map((line) => `<p class="lead">${escaped(line)}</p>`)
    .join('');
  const word = verdict === undefined ? '' : `<span class="word">${escaped(verdict ?? 'no verdict')}</span> `;
  return `<header>${kicker([title, ...facts], timeZone)}<div class="banner ${tone}">${iconOf(tone)}<div><h1 class="verdict">${word}${escaped(headline)}</h1>${lead}</div></div></header>`;
}

/** The line above all else. */
export function kicker(facts: readonly string[], timeZone: string): string {
  return `<p class="kicker"><span>${facts.map(escaped).join(' · ')}</span> <span>All times: ${escaped(timeZone)}</span></p>`;
}

/** The top of a page without a verdict. @param body HTML below the headline */
export function plainBanner(title: string, headline: string, body: string, timeZone: string): string {
  return `<header>${kicker([title], timeZone)}<div class="banner plain"><div><h1>${escaped(headline)}</h1>${body}</div></div></header>`;
}

/** A part of a page that is collapsed at first. It is left out if `html` is empty. */
export interface Part {
  /** Letters, digits and dashes; unique on its page. */
  readonly id: string;
  readonly title: string;
  readonly html: string;
  /** Whether it is open at first. */
  readonly isOpen?: boolean;
}

/** Parts to open by their heading. Browsers open a collapsed part when a link points into it. */
export function foldedParts(parts: readonly Part[]): string {
  return parts
    .filter(({ html }) => html !== '')
    .map(
      ({ id, title, html, isOpen }) =>
        `<details${isOpen ? ' open' : ''}><summary><h2>${escaped(title)}</h2></summary><div id="${id}">${html}</div></details>`,
    )
    .join('');
}

/** A list of sentences, the most important first. */
export function findings(sentences: readonly string[]): string {
  return `<ul class="findings">${sentences.map((sentence) => `<li>${escaped(sentence)}</li>`).join('')}</ul>`;
}

/** A section with a heading; empty if its body is empty. */
export function section(title: string, body: string): string {
  return body === '' ? '' : `<section><h2>${escaped(title)}</h2>${body}</section>`;
}

interface ViewPageParts {
  /** Title of the browser window. The page itself shows the title of its view. */
  readonly title: string;
  /** HTML of the first screen below the verdict. */
  readonly first: string;
  readonly parts: readonly Part[];
  /** Parts that come last. */
  readonly appendix?: readonly Part[];
  readonly charts: readonly { readonly data: ChartData }[];
  readonly timeZone: string;
}

/**
 * A view as a page: the verdict and its figures on the first screen, then the reasons, then all other parts, collapsed.
 */
export function viewPage(
  view: View,
  { title, first, parts, appendix = [], charts, timeZone }: ViewPageParts,
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
      ...appendix,
    ]),
  ];
  return page({ title, body, charts: charts.map(({ data }) => data), timeZone }, assets);
}

/** The reasons of the verdict, or the notes; empty if there are none. */
function findingList(list: readonly Finding[]): string {
  if (list.length === 0) return '';
  return `<ul class="findings reasons">${withoutRepeats(list).map(findingItem).join('')}</ul>`;
}

function findingItem({ code, text, title, means = '', advice, commands = [] }: Finding): string {
  const parts = [
    `<p><strong>${escaped(title ?? nameOf(code))}</strong> <code>${escaped(code)}</code></p><p>${escaped(text)}</p>`,
    means === '' ? '' : `<p class="soft">${escaped(means)}</p>`,
    advice === '' ? '' : `<p class="todo"><b>To do:</b> ${withCode(escaped(advice), commands)}</p>`,
  ];
  return `<li>${parts.join('')}</li>`;
}

/** A code as words, for a finding without a title: `void_windows` → `Void windows`. */
function nameOf(code: string): string {
  const words = code.replaceAll('_', ' ').replaceAll(/\b(?:ttft|itl|tpot)\b/g, (name) => name.toUpperCase());
  return `${words.slice(0, 1).toUpperCase()}${words.slice(1)}`;
}

/** Marks commands, to which the script adds a button that copies them. @param html escaped text */
function withCode(html: string, commands: readonly string[]): string {
  return commands
    .map(escaped)
    .reduce((all, command) => all.replace(command, () => `<code class="command">${command}</code>`), html);
}

/** The tables of a section as a collapsed part, with HTML before and after them. */
export function tablesPart({ key, title, tables }: Section, before = '', behind = ''): Part {
  const html = `${before}${tables.map((table) => figure(table, tableHtml(table))).join('')}${behind}`;
  return { id: key, title, html };
}
