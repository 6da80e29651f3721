/**
 * Captured text was written by strangers. What is said here in another way means the same to a JSON parser, and
 * nothing to a terminal that shows the file or to a page it is pasted into.
 */

/** Controls above ASCII (among them the one-byte escape), line separators, marks that turn the direction. */
const UNSHOWN = /[\u007f-\u009f\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;
/** What ends a script or begins a comment in a page. */
const MARKUP = /<(?=[/!])/g;
/** Controls of a line of text; the tab is none. */
const CONTROLS = /(?!\t)[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;
/** A cell that begins so is a formula to spreadsheets. */
const FORMULA = /^[=+\-@\t\r]/;

/** A JSON text that says the same and does nothing to a terminal. In JSON these characters stand within strings only. */
export function shownJsonText(json: string): string {
  return json.replace(UNSHOWN, escaped);
}

/** A value as inert JSON, on one line, for terminals and pages. */
export function inertJson(value: unknown): string {
  return shownJsonText(JSON.stringify(value)).replace(MARKUP, '\\u003c');
}

/** A text with visible stand-ins for controls: for names that other programs print. */
export function shownText(text: string): string {
  return text.replace(CONTROLS, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\x${code.toString(16).padStart(2, '0')}`;
  });
}

/** A text as a cell of a CSV (RFC 4180): controls shown, formulas made text by an apostrophe in front. */
export function csvCell(text: string): string {
  const shown = shownText(text);
  const plain = FORMULA.test(text) ? `'${shown}` : shown;
  return /[",\t']/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
