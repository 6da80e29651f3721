import { shownText } from './text.ts';

/** How spreadsheets begin a formula, and what they skip before one. */
const FORMULA = /^[\s\p{Cc}]*[=+\-@|]|^[\t\r]/u;
const NEEDS_QUOTES = /[",\t']/;

export type CsvCell = string | number | boolean | null;

/**
 * One line of CSV (RFC 4180), with its line end. Text was recorded from strangers: what a spreadsheet would run as a
 * formula gets an apostrophe in front, and what cannot be seen is written out. Numbers stay numbers; null is empty.
 */
export function csvLine(cells: readonly CsvCell[]): string {
  return `${cells.map(cellOf).join(',')}\r\n`;
}

function cellOf(cell: CsvCell): string {
  if (cell === null) return '';
  if (typeof cell !== 'string') return String(cell);
  const shown = shownText(cell);
  const inert = FORMULA.test(cell) ? `'${shown}` : shown;
  return NEEDS_QUOTES.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}
