import { createHash } from 'node:crypto';
import { shownLines } from '../../core/text.ts';

/** Text as it may stand in HTML, between tags or within quotes. Everything recorded goes through here. */
export function escaped(text: string): string {
  return shownLines(text).replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}

/** JSON as it may stand in a script element: nothing in it ends the element or begins a comment. */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll('<', '\\u003c')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}

/** The source expression of a policy that allows this very text. */
export function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}
