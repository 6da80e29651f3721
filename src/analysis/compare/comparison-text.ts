import type { ComparisonDocument } from '../../documents/comparison.ts';
import type { ComparisonReason } from './compare-pairs.ts';
import { metricTable, pairsText, sideText, verdictSentence } from './comparison-rows.ts';

/** The comparison as lines of plain text, the verdict first. Names may hold anything: print them with care. */
export function comparisonText(document: ComparisonDocument): string[] {
  const { verdict, a, b, reasons, notes } = document;
  const { titles, rows } = metricTable(document);
  const pairs = pairsText(document);
  return [
    `${verdict}: ${verdictSentence(document)}`,
    ...reasons.flatMap(reasonLines),
    '',
    `  A  ${sideText(a)}`,
    `  B  ${sideText(b)}`,
    ...(pairs === '' ? [] : [`  ${pairs}`]),
    '',
    ...aligned([titles, ...rows]),
    ...(notes.length === 0 ? [] : ['', 'Notes', ...notes.flatMap(reasonLines)]),
  ];
}

function reasonLines({ code, text, advice }: ComparisonReason): string[] {
  return [`  ${code}: ${text}`, `    ${advice}`];
}

/** The first and the last column to the left, the others to the right. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((most, row) => Math.max(most, (row[column] ?? '').length), 0),
  );
  return rows.map((row) =>
    `  ${row.map((cell, at) => (at === 0 || at === row.length - 1 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('  ')}`.trimEnd(),
  );
}
