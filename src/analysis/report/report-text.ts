import type { AdvisedReason } from './advice.ts';
import type { ReportDocument } from './report-document.ts';
import { sectionsOf } from './report-sections.ts';
import type { ReportTable } from './report-table.ts';
import { runLines } from './run-lines.ts';

/** Cells longer than this stand in full in the other forms. */
const CELL = 60;

/** The report as lines of plain text: the verdict, its reasons and advice first. Print them with care. */
export function reportText(document: ReportDocument): string[] {
  const { verdict, headline, reasons, notes } = document;
  return [
    `Verdict: ${verdict ?? 'none'}. ${headline}`,
    ...reasons.flatMap(reasonLines),
    '',
    ...runLines(document).map((line) => `  ${line}`),
    ...sectionsOf(document).flatMap(({ title, tables }) => [
      '',
      title.toUpperCase(),
      ...tables.flatMap((table) => ['', ...tableText(table)]),
    ]),
    ...(notes.length === 0 ? [] : ['', 'NOTES', ...notes.flatMap(reasonLines)]),
  ];
}

function reasonLines({ code, text, title, means, advice, next }: AdvisedReason): string[] {
  const todo = [advice, next].filter((sentence) => sentence !== '').join(' ');
  return [
    `  ${title} (${code}): ${text}`,
    ...(means === '' ? [] : [`      means: ${means}`]),
    ...(todo === '' ? [] : [`      to do: ${todo}`]),
  ];
}

function tableText({ title, columns, rows, unit, lookFor }: ReportTable): string[] {
  const lines = [columns.map((column) => column.title), ...rows].map((row) =>
    columns.map((_, at) => inOneLine(row[at] ?? '')),
  );
  const widths = columns.map((_, at) => lines.reduce((most, row) => Math.max(most, row[at]!.length), 0));
  return [
    `${title} (${unit})`,
    ...lines.map((row) =>
      `  ${row.map((cell, at) => (columns[at]!.kind === 'number' ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!))).join('  ')}`.trimEnd(),
    ),
    `  Look for: ${lookFor}`,
  ];
}

/** Whatever would move the columns becomes one mark; the terminal makes the rest of it harmless. */
function inOneLine(cell: string): string {
  const plain = cell.replace(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu, '�');
  return plain.length <= CELL ? plain : `${plain.slice(0, CELL - 1)}…`;
}
