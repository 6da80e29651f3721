/**
 * A copy of a text with memory of its own. A piece sliced off a string keeps the whole string alive: a header name
 * that is remembered for ever would keep the head it was first seen in.
 */
export function ownText(text: string): string {
  // As UTF-8, which tells all characters apart: a name must not be remembered as another one.
  return Buffer.from(text, 'utf8').toString('utf8');
}
