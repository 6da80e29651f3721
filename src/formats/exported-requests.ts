import type { HeaderPair } from '../core/headers.ts';
import { inertJson, shownText } from '../core/text.ts';
import type { ExportedRequest, ExportedSend } from './export-writer.ts';
import type { TextCounts } from './text-counts.ts';

/** What a replay puts on its requests begins so. */
const OURS = 'x-reprise-';

/** Header pairs of a flat list. */
export function headerPairs(flat: readonly string[]): HeaderPair[] {
  const pairs: HeaderPair[] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] ?? '', flat[at + 1] ?? '']);
  return pairs;
}

/** The same without what marks a replay: for archives, which nobody sends. */
export function recordedPairs(flat: readonly string[]): HeaderPair[] {
  return headerPairs(flat).filter(([name]) => !name.toLowerCase().startsWith(OURS));
}

/** Counts what becomes of headers where they are a map of texts. */
export function countHeaderLosses(flat: readonly string[], lost: TextCounts, joined = true): void {
  const names = new Set<string>();
  for (let at = 0; at < flat.length; at += 2) names.add((flat[at] ?? '').toLowerCase());
  if (joined && names.size < flat.length / 2) {
    lost.count('a header that came more than once: its values are joined');
  }
  if (flat.some((text) => BEYOND_ASCII.test(text))) {
    lost.count('a header value beyond ASCII, which goes as UTF-8');
  }
}

/** A request target where URLs are ASCII: the same bytes, percent-encoded. */
export function asciiTarget(path: string): string {
  return path.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
}

const BEYOND_ASCII = /[\x80-\xff]/;

/** Name of the data file beside a script. */
export const REQUESTS_FILE = 'requests.jsonl';

/**
 * One request a line, for scripts of ours that other tools run: number, milliseconds after the start, method, target,
 * header pairs, body as base64 (null without one), route.
 */
export function requestLine(send: ExportedSend, request: ExportedRequest): string {
  return `${inertJson({
    i: send.index,
    t: send.offsetNs / 1e6,
    m: request.method,
    p: asciiTarget(request.path),
    h: headerPairs(request.headers),
    b: request.body === null ? null : Buffer.from(request.body).toString('base64'),
    // A name in the tool's statistics, which it prints.
    r: shownText(send.row.route ?? request.method),
  })}\n`;
}
