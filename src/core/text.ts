/**
 * A copy of a text with memory of its own. A piece sliced off a string keeps the whole string alive: a header name
 * that is remembered for ever would keep the head it was first seen in.
 */
export function ownText(text: string): string {
  // As UTF-8, which tells all characters apart: a name must not be remembered as another one.
  return Buffer.from(text, 'utf8').toString('utf8');
}

/** URLs in URLs are encoded once for each that is around them; more than this nobody has seen. */
const ROUNDS = 3;

const PERCENT = 0x25;
const NO_DIGIT = -1;
/** Codes of this and above are parts of characters that ASCII does not have. */
const ASCII_END = 0x80;

const HEX_DIGITS = Int8Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  return /[0-9a-f]/i.test(character) ? Number.parseInt(character, 16) : NO_DIGIT;
});

/** A character that no single byte can hold. */
const WIDE = /[\u0100-\uffff]/;

/** Decodes percent-encoded ASCII; anything else stays as it is, so that no input can fail. */
export function decodePercent(text: string): string {
  if (!text.includes('%')) return text;
  const coding = WIDE.test(text) ? 'utf8' : 'latin1';
  const bytes = Buffer.from(text, coding);
  const length = decodeInPlace(bytes, ASCII_END);
  return length === bytes.length ? text : bytes.toString(coding, 0, length);
}

/** All bytes that a percent-encoded text stands for; what is no code stays as it is. */
export function decodePercentBytes(encoded: Uint8Array): Buffer {
  const bytes = Buffer.from(encoded);
  return bytes.subarray(0, decodeInPlace(bytes, 256));
}

/**
 * ASCII in an encoded text decoded once, twice and so on, as often as a server or those behind it may. Each round is
 * there until the next is asked for: one copy serves them all, however large the text.
 */
export function* decodedRounds(encoded: Uint8Array): Generator<Uint8Array> {
  if (!encoded.includes(PERCENT)) return;
  let bytes = Buffer.from(encoded);
  for (let round = 0; round < ROUNDS; round += 1) {
    const length = decodeInPlace(bytes, ASCII_END);
    if (round > 0 && length === bytes.length) return;
    bytes = bytes.subarray(0, length);
    yield bytes;
  }
}

/** Puts bytes below `end` in the place of their codes, in one pass; answers how many bytes there are then. */
function decodeInPlace(bytes: Uint8Array, end: number): number {
  let length = bytes.indexOf(PERCENT);
  if (length < 0) return bytes.length;
  for (let at = length; at < bytes.length; at += 1, length += 1) {
    const code = encodedByte(bytes, at);
    const decodes = code !== null && code < end;
    bytes[length] = decodes ? code : (bytes[at] as number);
    if (decodes) at += 2;
  }
  return length;
}

/** The byte whose code begins there; null where none does. */
export function encodedByte(bytes: Uint8Array, at: number): number | null {
  if (bytes[at] !== PERCENT || at + 2 >= bytes.length) return null;
  const high = HEX_DIGITS[bytes[at + 1] as number] as number;
  const low = HEX_DIGITS[bytes[at + 2] as number] as number;
  return high === NO_DIGIT || low === NO_DIGIT ? null : high * 16 + low;
}

const MASK = '***';
const USER_INFO = /^(\s*(?:[a-z][a-z0-9+.-]{0,30}:)?\/\/)?[\s\S]*@/i;
/** A quote ends a URL, but not before its user info does: a password may hold one. No second `//` is looked past. */
const URL_IN_TEXT = /\b[a-z][a-z0-9+.-]{0,30}:\/\/(?:[^\s/]*(?:\/(?!\/)[^\s/]*)*@)?[^\s"'<>]*/gi;

/**
 * A URL as an error or a list of settings may quote it: without user info, the values of its query, and its fragment.
 * It need not be one that can be read. Hides what comes before the last `@`, wherever that is: a password that nobody
 * percent-encoded may hold what ends an authority.
 */
export function shownUrl(text: string): string {
  if (/^\s*unix:/i.test(text)) return text;
  const bare = text.replace(USER_INFO, (_, scheme: string | undefined) => `${scheme ?? ''}${MASK}@`);
  const end = bare.search(/[?#]/);
  return end < 0 ? bare : bare.slice(0, end) + bare.slice(end).replace(/([?&;#])([^?&;#]+)/g, shownField);
}

/** A text with each URL in it as it may be quoted. */
export function withShownUrls(text: string): string {
  return text.replace(URL_IN_TEXT, shownUrl);
}

function shownField(_: string, before: string, field: string): string {
  const key = before === '#' ? '' : field.slice(0, field.indexOf('=') + 1);
  return `${before}${key}${MASK}`;
}

/** What cannot be seen in a line of text: controls but the tab, marks that turn the direction, line separators. */
const UNSEEN = /(?!\t)[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;
/** The same of what JSON does not escape by itself. */
const UNSEEN_IN_JSON = /[\u007f-\u009f\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

/**
 * A recorded text (a route, a header, a model's name) as it may be shown. Strangers wrote it: an escape sequence could
 * rewrite the terminal it is shown on, and a mark that turns the direction of text makes one name look like another.
 * Each such character is written as `\\xNN`.
 */
export function shownText(text: string): string {
  return text.replace(UNSEEN, (character) => `\\x${hexOf(character, 2)}`);
}

/** The same of a text of several lines, which stay as they are. */
export function shownLines(text: string): string {
  return text.split('\n').map(shownText).join('\n');
}

/** A JSON text that says the same and does nothing to a terminal. Outside strings JSON has none of these characters. */
export function shownJsonText(json: string): string {
  return json.replace(UNSEEN_IN_JSON, (character) => `\\u${hexOf(character, 4)}`);
}

/** A value as such a JSON text, on one line, that ends no script and begins no comment in a page either. */
export function inertJson(value: unknown): string {
  return shownJsonText(JSON.stringify(value)).replace(/<(?=[/!])/g, '\\u003c');
}

function hexOf(character: string, digits: number): string {
  return (character.codePointAt(0) ?? 0).toString(16).padStart(digits, '0');
}

/** How spreadsheets begin a formula, and what they skip before one. */
const FORMULA = /^[\s\p{Cc}]*[=+\-@|]|^[\t\r]/u;
const NEEDS_QUOTES = /[",\t']/;

type CsvCell = string | number | boolean | null;

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

/** Counts by a text: what exports lose, what imports lack. */
export class TextCounts {
  readonly #counts = new Map<string, number>();

  /** @param what a text of ours, never one that was captured */
  count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1);
  }

  get all(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }
}
