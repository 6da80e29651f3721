/** From this share of 4xx, or of failures, answers are not shown as good. */
export const MANY_CLIENT_ERRORS = 0.1;
export const MANY_FAILURES = 0.01;

/** How good a class or a code of a status is; null if it is none. */
export function statusTone(cell: string): 'good' | 'warn' | 'bad' | null {
  if (/^[123](?:xx|\d\d)$/.test(cell)) return 'good';
  if (/^4(?:xx|\d\d)$/.test(cell)) return 'warn';
  return /^5(?:xx|\d\d)$|^no answer$/.test(cell) ? 'bad' : null;
}
