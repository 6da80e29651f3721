/**
 * A copy of a latin1 text with memory of its own. A piece sliced off a string keeps the whole string alive: a
 * header name that is remembered for ever would keep the head it was first seen in.
 */
export function ownText(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
