import { type HeaderPair, headerPairOf } from '../core/headers.ts';
import { headerReason } from './unreplayable.ts';

/** A line of a recorded head, and what can be said of it whatever request it stands in. */
export interface HeaderLine {
  readonly pair: HeaderPair;
  /** The name in lower case. */
  readonly lower: string;
  /** Whether a request with it can be sent at all. */
  readonly sendable: boolean;
  /** Of `Connection` and `Transfer-Encoding`: what they list, in lower case. */
  readonly items: readonly string[];
}

/**
 * Lines that came once, each a piece of its head, which it keeps: most of them (a trace id, a length) never come
 * again, and are gone before they grow old.
 */
const ONCE_MAX = 256;
/** Lines that came again. */
const AGAIN_MAX = 4_096;
/** Longer ones are read anew each time, and so are those of longer heads, which bounds what is kept: some six MiB. */
const LINE_CHARS = 512;
const HEAD_CHARS = 16_384;

const LISTS: ReadonlySet<string> = new Set(['connection', 'transfer-encoding']);
const NO_ITEMS: readonly string[] = [];

/**
 * Reads the header lines of recorded heads. Those of one client are alike from request to request, so what was made
 * of a line is remembered by its text; nothing else plays a part in it.
 */
export class HeaderLines {
  #once = new Map<string, HeaderLine | null>();
  #again = new Map<string, HeaderLine | null>();

  /** @param head latin1; its first line is no header */
  of(head: string): HeaderLine[] {
    const lines: HeaderLine[] = [];
    let at = head.indexOf('\n') + 1;
    while (at > 0 && at < head.length) {
      const end = head.indexOf('\n', at);
      const text = end < 0 ? head.slice(at) : head.slice(at, end);
      const line =
        text.length > LINE_CHARS || head.length > HEAD_CHARS ? lineFrom(text) : this.#remembered(text);
      if (line !== null) lines.push(line);
      at = end + 1;
    }
    return lines;
  }

  #remembered(text: string): HeaderLine | null {
    // The empty line at the end, with or without its CR.
    if (text.length < 2) return null;
    const known = this.#again.get(text);
    if (known !== undefined) return known;
    const seen = this.#once.get(text);
    if (seen === undefined) {
      if (this.#once.size >= ONCE_MAX) this.#once = new Map();
      const line = lineFrom(text);
      this.#once.set(text, line);
      return line;
    }
    if (this.#again.size >= AGAIN_MAX) this.#again = new Map();
    // A copy, because a piece of a text keeps all of it.
    const copy = Buffer.from(text, 'latin1').toString('latin1');
    const line = lineFrom(copy);
    this.#again.set(copy, line);
    return line;
  }
}

/** Null for what is no header. */
function lineFrom(text: string): HeaderLine | null {
  const pair = headerPairOf(text);
  if (pair === null) return null;
  const [name, value] = pair;
  const lower = name.toLowerCase();
  return {
    pair,
    lower,
    sendable: headerReason(name, lower, value) === null,
    items: LISTS.has(lower) ? itemsOf(value) : NO_ITEMS,
  };
}

function itemsOf(value: string): string[] {
  return value
    .split(',')
    .map((item) => item.trim().toLowerCase())
    .filter((item) => item !== '');
}
