import { shownText } from '../../core/text.ts';
import type { ReportedReason } from '../../documents/parts.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { withoutRepeats } from './advice.ts';
import { sectionsOf } from './report-sections.ts';
import type { ReportTable } from './report-table.ts';
import { runLines } from './run-lines.ts';

/** Widest a column gets, and the most that is shown of a cell; the other forms have all of it. */
const CELL = 60;
const LONGEST = 360;

/** The report as lines of plain text: the verdict, its reasons and advice first. Print them with care. */
export function reportText(document: ReportDocument): string[] {
  const { verdict, headline, reasons, notes } = document;
  return [
    `Verdict: ${verdict ?? 'none'}. ${headline}`,
    ...withoutRepeats(reasons).flatMap(reasonLines),
    '',
    ...runLines(document).map((line) => `  ${line}`),
    ...sectionsOf(document).flatMap(({ title, tables }) => [
      '',
      title.toUpperCase(),
      ...tables.flatMap((table) => ['', ...tableText(table)]),
    ]),
    ...(notes.length === 0 ? [] : ['', 'NOTES', ...withoutRepeats(notes).flatMap(reasonLines)]),
  ];
}

function reasonLines({ code, text, title, means, advice }: ReportedReason): string[] {
  return [
    `  ${title} (${code}): ${text}`,
    ...(means === '' ? [] : [`      means: ${means}`]),
    ...(advice === '' ? [] : [`      to do: ${advice}`]),
  ];
}

function tableText({ title, columns, rows, unit, lookFor }: ReportTable): string[] {
  const cells = [columns.map((column) => column.title), ...rows].map((row) =>
    columns.map((_, at) => wrapped(inOneLine(row[at] ?? ''))),
  );
  const widths = columns.map((_, at) =>
    cells.reduce((most, row) => Math.max(most, ...row[at]!.map(({ length }) => length)), 0),
  );
  const lineOf = (row: readonly (readonly string[])[], index: number): string =>
    `  ${columns
      .map(({ kind }, at) => {
        const cell = row[at]?.[index] ?? '';
        return kind === 'number' ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!);
      })
      .join('  ')}`.trimEnd();
  return [
    `${title} (${unit})`,
    ...cells.flatMap((row) => {
      const height = Math.max(...row.map(({ length }) => length));
      return Array.from({ length: height }, (_, index) => lineOf(row, index));
    }),
    `  Look for: ${lookFor}`,
  ];
}

/** What cannot be seen is written out, so that it does not move the columns. */
function inOneLine(cell: string): string {
  return shownText(cell.slice(0, LONGEST)).replaceAll('\t', ' ');
}

/** A long cell takes several lines of its column, broken at spaces where there are any. */
function wrapped(cell: string): string[] {
  const lines: string[] = [];
  let rest = cell;
  while (rest.length > CELL) {
    const space = rest.lastIndexOf(' ', CELL);
    const end = space > 0 ? space : CELL;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}
