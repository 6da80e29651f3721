import { shownText } from '../../core/text.ts';
import { type Finding, type Table, type View, withoutRepeats } from './table.ts';

/** Widest a column gets, and the most that is shown of a cell; the other forms have all of it. */
const CELL = 60;
const LONGEST = 360;

/**
 * A view as lines of plain text: the verdict, its reasons and advice first. Print them with care.
 * @param words whether tables say their unit and what to look for
 */
export function viewText(view: View, words: 'with words' | 'brief' = 'with words'): string[] {
  const { verdict, headline, reasons, notes, lines, sections } = view;
  return [
    `Verdict: ${verdict ?? 'none'}. ${headline}`,
    ...withoutRepeats(reasons).flatMap(findingLines),
    '',
    ...lines.map((line) => `  ${line}`),
    ...sections.flatMap(({ title, tables }) => [
      '',
      title.toUpperCase(),
      ...tables.flatMap((table) => ['', ...tableText(table, words)]),
    ]),
    ...(notes.length === 0 ? [] : ['', 'NOTES', ...withoutRepeats(notes).flatMap(findingLines)]),
  ];
}

function findingLines({ code, text, title, means = '', advice }: Finding): string[] {
  return [
    `  ${title === undefined ? code : `${title} (${code})`}: ${text}`,
    ...(means === '' ? [] : [`      means: ${means}`]),
    ...(advice === '' ? [] : [`      to do: ${advice}`]),
  ];
}

/** A table with its title, and with its words. */
export function tableText(table: Table, words: 'with words' | 'brief' = 'with words'): string[] {
  const { title, columns, rows, unit, lookFor } = table;
  return [
    words === 'brief' ? title : `${title} (${unit})`,
    ...tableLines(columns, rows, (cell) => wrapped(cell.slice(0, LONGEST))).map((line) => `  ${line}`),
    ...(words === 'brief' ? [] : [`  Look for: ${lookFor}`]),
  ];
}

/**
 * Aligned lines: the titles, then the rows; names to the left, numbers to the right.
 * @param split the lines of a cell
 */
export function tableLines(
  columns: Table['columns'],
  rows: Table['rows'],
  split: (cell: string) => readonly string[] = (cell) => [inOneLine(cell)],
): string[] {
  const cells = [columns.map(({ title }) => title), ...rows].map((row) =>
    columns.map((_, at) => split(row[at] ?? '')),
  );
  const widths = columns.map((_, at) =>
    cells.reduce((most, row) => Math.max(most, ...row[at]!.map(({ length }) => length)), 0),
  );
  const lineOf = (row: readonly (readonly string[])[], index: number): string =>
    columns
      .map(({ kind }, at) => {
        const cell = row[at]?.[index] ?? '';
        return kind === 'number' ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!);
      })
      .join('  ')
      .trimEnd();
  return cells.flatMap((row) => {
    const height = Math.max(...row.map(({ length }) => length));
    return Array.from({ length: height }, (_, index) => lineOf(row, index));
  });
}

/** What cannot be seen is written out, so that it does not move the columns. */
function inOneLine(cell: string): string {
  return shownText(cell).replaceAll('	', ' ');
}

/** A long cell takes several lines of its column, broken at spaces where there are any. */
function wrapped(cell: string): string[] {
  const lines: string[] = [];
  let rest = inOneLine(cell);
  while (rest.length > CELL) {
    const space = rest.lastIndexOf(' ', CELL);
    const end = space > 0 ? space : CELL;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}

/** What Markdown or HTML in it, a mention, a formula or a link could begin with. */
const MEANINGFUL = /[\\`*_[\]<>#|~!]/g;
const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '@': '&#64;', $: '&#36;' };

/** A view in Markdown, for a merge request or a wiki; recorded text in it stays text. */
export function viewMarkdown({ title, verdict, headline, reasons, notes, lines, sections }: View): string {
  const parts = [
    `# ${inert(title)}`,
    `**${verdict ?? 'no verdict'}** – ${inert(headline)}`,
    withoutRepeats(reasons).map(findingItem).join('\n'),
    lines.map((line) => `- ${inert(line)}`).join('\n'),
    ...sections.flatMap((section) => [
      `## ${inert(section.title)}`,
      ...section.tables.flatMap(tableMarkdown),
    ]),
    ...(notes.length === 0 ? [] : ['## Notes', withoutRepeats(notes).map(findingItem).join('\n')]),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function findingItem({ code, text, title, means = '', advice }: Finding): string {
  const words = [
    `**${inert(title ?? code)}**${title === undefined ? '' : ` (${inert(code)})`}: ${inert(text)}.`,
    means === '' ? '' : inert(means),
    advice === '' ? '' : `To do: ${inert(advice)}`,
  ];
  return `- ${words.filter((each) => each !== '').join(' ')}`;
}

function tableMarkdown({ title, unit, source, lookFor, columns, rows }: Table): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    `### ${inert(title)}`,
    `Unit: ${inert(unit)}. Source: ${inert(source)}.`,
    [
      line(columns.map((column) => inert(column.title))),
      line(columns.map(({ kind }) => (kind === 'number' ? '---:' : '---'))),
      ...rows.map((row) => line(columns.map((_, at) => inert(row[at] ?? '')))),
    ].join('\n'),
    `*Look for: ${inert(lookFor)}.*`,
  ];
}

/** Text as it may stand in a cell, an item or a heading of Markdown: it is shown, and does nothing. */
export function inert(text: string): string {
  return shownText(text)
    .replace(/\t/g, ' ')
    .replace(MEANINGFUL, (character) => `\\${character}`)
    .replace(/[&@$]/g, (character) => ENTITIES[character] ?? character)
    .replace(/:(?=\/\/)/g, '&#58;')
    .replace(/\bwww\./gi, (match) => `${match.slice(0, -1)}&#46;`)
    .replace(/\b(mailto|xmpp):/gi, (_, scheme: string) => `${scheme}&#58;`)
    .replace(
      /^(\s*)([-+=]|\d+[.)])(?=\s|$|[-=])/,
      (_, space: string, mark: string) => `${space}${mark.slice(0, -1)}\\${mark.slice(-1)}`,
    );
}
