import { createHash } from 'node:crypto';
import { shownLines } from '../../core/text.ts';
import { type Finding, type Section, type Table, type View, withoutRepeats } from './table.ts';

/** Text as it may stand in HTML, between tags or within quotes. Everything recorded goes through here. */
export function escaped(text: string): string {
  return shownLines(text).replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}

/** JSON as it may stand in a script element: nothing in it ends the element or begins a comment. */
export function scriptJson(value: unknown): string {
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

/** What a script draws. Times are epoch seconds. */
/** A window of time that a chart marks. */
export interface ChartMark {
  readonly label: string;
  readonly from: number;
  readonly to: number;
}

export interface ChartData {
  readonly marks?: readonly ChartMark[];
  readonly id: string;
  readonly unit: string;
  /** What lies along the chart, with places that are marked; left out for time. */
  readonly x?: {
    readonly label: string;
    readonly marks: readonly { readonly label: string; readonly at: number; readonly colour: string }[];
  };
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
${body.filter((part) => part !== '').join('\n')}
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
  return `<figure><h3>${escaped(title)}</h3><p class="soft">Unit: ${escaped(unit)}. Source: ${escaped(source)}.</p>${body}<figcaption>Look for: ${escaped(lookFor)}</figcaption></figure>`;
}

/** A table with its words; it scrolls by itself where it is too wide. `after` is HTML. */
function tableFigure(table: Table, after = ''): string {
  const { columns, rows, toneOf = () => null } = table;
  const cells = (row: readonly string[], tag: 'td' | 'th') =>
    columns
      .map(({ kind }, at) => {
        const cell = row[at] ?? '';
        const tone = tag === 'td' ? toneOf(cell) : null;
        return `<${tag} class="${kind}${tone === null ? '' : ` ${tone}`}">${escaped(cell)}</${tag}>`;
      })
      .join('');
  const head = cells(
    columns.map(({ title }) => title),
    'th',
  );
  const body = rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('');
  return figure(
    table,
    `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>${after}`,
  );
}

/** Names and values, as a row of cards. */
export function facts(pairs: readonly (readonly [name: string, value: string])[]): string {
  const cards = pairs.map(
    ([name, value]) => `<div><dt>${escaped(name)}</dt><dd>${escaped(value)}</dd></div>`,
  );
  return `<dl class="facts">${cards.join('')}</dl>`;
}

/** Sentences, what matters most first. */
export function findings(sentences: readonly string[]): string {
  return `<ul class="findings">${sentences.map((sentence) => `<li>${escaped(sentence)}</li>`).join('')}</ul>`;
}

/** A section under a heading; nothing where its body is empty. */
export function section(title: string, body: string): string {
  return body === '' ? '' : `<section><h2>${escaped(title)}</h2>${body}</section>`;
}

/** A view as a page: the verdict first, then why, then what else the page shows. */
export function viewPage(
  view: View,
  title: string,
  body: readonly string[],
  series: readonly { readonly data: ChartData }[],
  assets: PageAssets,
): string {
  const charts = series.map(({ data }) => data);
  const parts = [viewHeader(view), findingList(view.reasons), ...body];
  return page({ title, body: parts, charts, timeZone: 'UTC' }, assets);
}

/** The verdict, its sentence and what was measured. */
function viewHeader({ title, verdict, tone, headline, lines }: View): string {
  const paragraphs = lines.map((line) => `<p class="soft">${escaped(line)}</p>`);
  return `<header><h1>${escaped(title)}</h1><p class="verdict ${tone}"><span class="badge ${tone}">${escaped(verdict ?? 'no verdict')}</span> ${escaped(headline)}</p>${paragraphs.join('')}</header>`;
}

/** Why the verdict is what it is, or notes; nothing where there are none. */
export function findingList(list: readonly Finding[]): string {
  if (list.length === 0) return '';
  return `<ul class="findings reasons">${withoutRepeats(list).map(findingItem).join('')}</ul>`;
}

function findingItem({ code, text, title, means = '', advice }: Finding): string {
  const parts = [
    `${title === undefined ? '' : `<strong>${escaped(title)}</strong> `}<code>${escaped(code)}</code><br>${escaped(text)}`,
    means === '' ? '' : `<br><span class="soft">${escaped(means)}</span>`,
    advice === '' ? '' : `<br><b>To do:</b> ${escaped(advice)}`,
  ];
  return `<li>${parts.join('')}</li>`;
}

/** A section of tables, with what else it shows: HTML that goes before or behind them. */
export function tableSection({ title, tables }: Section, before = '', behind = ''): string {
  return section(title, `${before}${tables.map((table) => tableFigure(table)).join('')}${behind}`);
}
