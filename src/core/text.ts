import { distance } from 'fastest-levenshtein';

/**
 * A copy of a text with its own memory. A slice keeps its whole string alive: a cached header name would keep
 * the head that it came from.
 */
export function ownText(text: string): string {
  // As UTF-8, which preserves all characters: a cached name must not change into another one.
  return Buffer.from(text, 'utf8').toString('utf8');
}

/** URLs inside URLs are encoded once per level. More levels than this do not occur in practice. */
const ROUNDS = 3;

const PERCENT = 0x25;
const NO_DIGIT = -1;
/** Bytes from here on belong to non-ASCII characters. */
const ASCII_END = 0x80;

const HEX_DIGITS = Int8Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  return /[0-9a-f]/i.test(character) ? Number.parseInt(character, 16) : NO_DIGIT;
});

/** A character that does not fit a single byte. */
const WIDE = /[\u0100-\uffff]/;

/** Decodes percent-encoded ASCII. Anything else stays unchanged, so no input fails. */
export function decodePercent(text: string): string {
  if (!text.includes('%')) return text;
  const coding = WIDE.test(text) ? 'utf8' : 'latin1';
  const bytes = Buffer.from(text, coding);
  const length = decodeInPlace(bytes, ASCII_END);
  return length === bytes.length ? text : bytes.toString(coding, 0, length);
}

/** The bytes of a percent-encoded text. Invalid escapes stay unchanged. */
export function decodePercentBytes(encoded: Uint8Array): Buffer {
  const bytes = Buffer.from(encoded);
  return bytes.subarray(0, decodeInPlace(bytes, 256));
}

/**
 * Yields an encoded text with its ASCII decoded once, twice and so on, as chained servers may do. Each round
 * is valid until the next one is requested, because all share one buffer.
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

/** Decodes bytes below `end` in place, in one pass. Returns the new length. */
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

/** The byte encoded at this position; null if there is no escape. */
export function encodedByte(bytes: Uint8Array, at: number): number | null {
  if (bytes[at] !== PERCENT || at + 2 >= bytes.length) return null;
  const high = HEX_DIGITS[bytes[at + 1] as number] as number;
  const low = HEX_DIGITS[bytes[at + 2] as number] as number;
  return high === NO_DIGIT || low === NO_DIGIT ? null : high * 16 + low;
}

const MASK = '***';
const USER_INFO = /^(\s*(?:[a-z][a-z0-9+.-]{0,30}:)?\/\/)?[\s\S]*@/i;
/**
 * Matches a URL up to a quote. User info may contain quotes, because a password may. Does not go past a
 * second `//`.
 */
const URL_IN_TEXT = /\b[a-z][a-z0-9+.-]{0,30}:\/\/(?:[^\s/]*(?:\/(?!\/)[^\s/]*)*@)?[^\s"'<>]*/gi;

/**
 * A URL as it may be quoted in errors and settings: without user info, query values and fragment. It may be
 * invalid. Everything before the last `@` is hidden, because an unencoded password may contain characters
 * that end an authority.
 */
export function shownUrl(text: string): string {
  if (/^\s*unix:/i.test(text)) return text;
  const bare = text.replace(USER_INFO, (_, scheme: string | undefined) => `${scheme ?? ''}${MASK}@`);
  const end = bare.search(/[?#]/);
  return end < 0 ? bare : bare.slice(0, end) + bare.slice(end).replace(/([?&;#])([^?&;#]+)/g, shownField);
}

/** A scheme that is not http, or one with a slash too few, before a host and port. */
const SLIP =
  /^(?:[a-z][a-z\d+.-]*(?::\/{1,3}|\/\/)|https?:)([\w.-]+|\[[^\]]+\])(:\d{1,5}(?:\/[^\s@?#]*)?)?$/i;

/**
 * The address that was likely meant by one without a port, with another scheme, or with a slash too few: `18111` is
 * `127.0.0.1:18111`, `http:/a:1` is `http://a:1`. Null if nothing is likely.
 */
export function likelyAddress(text: string): string | null {
  const given = text.trim();
  if (/^\d{2,5}$/.test(given)) return `127.0.0.1:${given}`;
  const [, host, rest = ''] = SLIP.exec(given) ?? [];
  if (host !== undefined) return `${/^https/i.test(given) ? 'https' : 'http'}://${host}${rest}`;
  return /^(?!\d+$)(?:[\w-]+\.)*[\w-]+$/.test(given) ? `${given}:8000` : null;
}

/** Replaces each URL in a text by its `shownUrl` form. */
export function withShownUrls(text: string): string {
  return text.replace(URL_IN_TEXT, shownUrl);
}

function shownField(_: string, before: string, field: string): string {
  const key = before === '#' ? '' : field.slice(0, field.indexOf('=') + 1);
  return `${before}${key}${MASK}`;
}

/** Invisible characters in a line of text: controls except tab, direction marks, line separators. */
const UNSEEN = /(?!\t)[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;
/** The same, limited to those that JSON does not escape by itself. */
const UNSEEN_IN_JSON = /[\u007f-\u009f\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

/** The start of `##[command]` of GitHub and Azure, and of `##vso[command]`. */
const LOG_COMMAND = /##(?=\w*\[)/g;

/**
 * A recorded text (a route, a header, a model's name) made safe to display. The text is untrusted: escape sequences
 * could rewrite the terminal, and direction marks could disguise names. Each such character is written as `\xNN`. So is
 * the second `#` of `##[`, which starts a command of GitHub and Azure.
 */
export function shownText(text: string): string {
  return text.replace(UNSEEN, (character) => `\\x${hexOf(character, 2)}`).replace(LOG_COMMAND, '#\\x23');
}

/** A whole line of output: like `shownText`, and GitHub does not read it as a `::command`. */
export function shownLine(line: string): string {
  return shownText(line).replace(/^\s*:(?=:)/, (start) => `${start.slice(0, -1)}\\x3a`);
}

/** A line of our own that the log of a pipeline must read as a command. */
export class LogCommand {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** A line that a terminal may colour. */
export class TonedLine {
  readonly text: string;
  readonly tone: Tone;

  constructor(text: string, tone: Tone) {
    this.text = text;
    this.tone = tone;
  }
}
export type Tone = 'good' | 'bad' | 'warn' | 'plain';

/** `shownText` for several lines. Line ends stay. */
export function shownLines(text: string): string {
  return text.split('\n').map(shownText).join('\n');
}

/** An equivalent JSON text that is safe for a terminal. Outside strings JSON has none of these characters. */
export function shownJsonText(json: string): string {
  return json
    .replace(UNSEEN_IN_JSON, (character) => `\\u${hexOf(character, 4)}`)
    .replace(LOG_COMMAND, '#\\u0023');
}

/** A value as such a JSON text on one line. In a page it cannot end a script or start a comment. */
export function inertJson(value: unknown): string {
  return shownJsonText(JSON.stringify(value)).replace(/<(?=[/!])/g, '\\u003c');
}

function hexOf(character: string, digits: number): string {
  return (character.codePointAt(0) ?? 0).toString(16).padStart(digits, '0');
}

/** Formula prefixes of spreadsheets, with leading characters that they skip. */
const FORMULA = /^[\s\p{Cc}]*[=+\-@|]|^[\t\r]/u;
const NEEDS_QUOTES = /[",\t']/;

type CsvCell = string | number | boolean | null;

/**
 * One line of CSV (RFC 4180) with its line end. Recorded text is untrusted: formulas get an apostrophe in
 * front, and invisible characters are escaped. Numbers stay numbers; null is empty.
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

/** Counts by text: what exports lose, what imports lack. */
export class TextCounts {
  readonly #counts = new Map<string, number>();

  /** @param what one of our own texts, never captured text */
  count(what: string, times = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + times);
  }

  get all(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }
}

/** Lines for people, in order. False or null stands for a line that does not apply. */
export function linesOf(...lines: readonly (string | false | null | readonly string[])[]): string[] {
  return lines.flatMap((line) => (line === false || line === null ? [] : line));
}

/** One line per count with its name. Counts of 0 are omitted. */
export function countLines(counts: readonly (readonly [count: number, what: string])[]): string[] {
  return counts.filter(([count]) => count > 0).map(([count, what]) => `  ${count} ${what}`);
}

/** The last two parts of a path, which tell it apart where there is no room for all: `…/last/two`. */
export function pathEnd(path: string): string {
  const parts = path.split(/[/\\]+/).filter((part) => part !== '' && part !== '.');
  return parts.length > 2 ? `…/${parts.slice(-2).join('/')}` : path;
}

/** A word for a POSIX shell, quoted if necessary. */
export function shellWord(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

const MOST_LISTED = 5;

/** Joins the first few parts, and says how many more there are. */
export function listed(parts: readonly string[]): string {
  const more = parts.length - MOST_LISTED;
  return `${parts.slice(0, MOST_LISTED).join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}

/**
 * The known name that was probably meant: at most a third of the characters differ. All names begin with `prefix`,
 * which does not count.
 */
export function nearest(name: string, known: Iterable<string>, prefix = ''): string | null {
  let best: string | null = null;
  let bestDistance = Math.ceil((name.length - prefix.length) / 3) + 1;
  for (const candidate of known) {
    const edits = distance(name, candidate);
    if (edits < bestDistance) [best, bestDistance] = [candidate, edits];
  }
  return best;
}
