import type { ComparisonDocument } from '../../documents/comparison.ts';
import { inert } from '../report/report-markdown.ts';
import { metricTable, pairsText, sideText, verdictSentence } from './comparison-rows.ts';

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
