/** How spreadsheets begin a formula, and what they skip before one. */
const FORMULA = /^[\s\p{Cc}]*[=+\-@\t\r|]/u;

/**
 * One line of CSV (RFC 4180), without its line end. Text was recorded from strangers: what a spreadsheet would run
 * as a formula gets an apostrophe in front; control characters but line ends, and marks that turn the direction of a
 * text, become spaces. Numbers stay numbers.
 */
export function csvLine(cells: readonly (string | number | null)[]): string {
  return cells.map(csvCell).join(',');
}

function csvCell(cell: string | number | null): string {
  if (cell === null) return '';
  if (typeof cell === 'number') return String(cell);
  const text = cell.replace(/(?![\t\n\r])[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu, ' ');
  const inert = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}
