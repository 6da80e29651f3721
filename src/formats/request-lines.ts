import type { ExportedRequest, ExportedSend } from './export-writer.ts';
import { asciiTarget, headerPairs } from './exported-headers.ts';
import { inertJson, shownText } from './inert-text.ts';

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
