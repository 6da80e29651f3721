import { createHash } from 'node:crypto';

/** Marks that turn the direction of text make one name look like another; control characters are nobody's words. */
const UNREADABLE = /(?![\t\n])[\p{Cc}\p{Bidi_Control}]/gu;

/** Text as it may stand in HTML, between tags or within quotes. Everything recorded goes through here. */
export function escaped(text: string): string {
  return text
    .replace(UNREADABLE, (character) => `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, '0')}`)
    .replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
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
