import { shownText } from '../../core/text.ts';
import { type Finding, type Table, type View, withoutRepeats } from './table.ts';

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
