import type { ComparisonDocument } from './comparison-document.ts';
import { metricTable, pairsText, sideText, verdictSentence } from './comparison-rows.ts';

/** Everything but letters, digits, spaces and marks that mean nothing to Markdown. */
const ACTIVE = /[^\p{L}\p{N} ,;%÷×–…]/gu;
const UNSEEN = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;
/** Marks that begin nothing in the middle of a word: a number stays readable. */
const HARMLESS_WITHIN = /(?<=[\p{L}\p{N}])&#(46|58|95);(?=[\p{N} ])/gu;

/** The comparison in Markdown, for a merge request or a job's summary; names in it stay text. */
export function comparisonMarkdown(document: ComparisonDocument): string {
  const { verdict, a, b, reasons, notes } = document;
  const { titles, rows } = metricTable(document);
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => inert(cell)).join(' | ')} |`;
  const list = (items: ComparisonDocument['reasons']) =>
    items
      .map(({ code, text, advice }) => `- **${inert(code)}**: ${inert(text)}. ${inert(advice)}`)
      .join('\n');
  const pairs = pairsText(document);
  const parts = [
    `## ${verdict}`,
    inert(verdictSentence(document)),
    list(reasons),
    [
      `- A: ${inert(sideText(a))}`,
      `- B: ${inert(sideText(b))}`,
      ...(pairs === '' ? [] : [`- ${inert(pairs)}`]),
    ].join('\n'),
    [
      line(titles),
      `|${titles.map((_, at) => (at === 0 ? ' --- ' : ' ---: ')).join('|')}|`,
      ...rows.map(line),
    ].join('\n'),
    notes.length === 0 ? '' : `### Notes\n\n${list(notes)}`,
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

/** Text that is shown and does nothing: marks are written as numbers, which Markdown never takes for its own. */
export function inert(text: string): string {
  return text
    .replace(UNSEEN, (character) => `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, '0')}`)
    .replace(ACTIVE, (character) => `&#${character.codePointAt(0)};`)
    .replace(HARMLESS_WITHIN, (_, code: string) => String.fromCodePoint(Number(code)));
}
