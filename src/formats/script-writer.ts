import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inertJson, shownText } from '../core/text.ts';
import {
  asciiTarget,
  countRequestLosses,
  type ExportedRequest,
  type ExportedSend,
  ExportWriter,
  headerPairs,
  type OutputFile,
} from './export-writer.ts';

/** Name of the data file beside a script. */
const REQUESTS_FILE = 'requests.jsonl';

/** Writes our script for another tool, and the requests that the script sends. */
export abstract class ScriptWriter extends ExportWriter {
  protected readonly program: OutputFile;
  readonly #requests: OutputFile;

  constructor(directory: string, programFile: string) {
    super();
    this.program = this.open(join(directory, programFile), programFile);
    this.#requests = this.open(join(directory, REQUESTS_FILE), REQUESTS_FILE);
  }

  override add(send: ExportedSend): boolean {
    if (send.request === null) return false;
    countRequestLosses(send.request, this.lost);
    this.#requests.write(requestLine(send, send.request, this.tagsOf(send)));
    return true;
  }

  /** Tags of a request besides its route; null for none. */
  protected tagsOf(_send: ExportedSend): Readonly<Record<string, string>> | null {
    return null;
  }
}

/**
 * One request a line, for our scripts in other tools. Members in order: number, milliseconds after the start,
 * method, target, header pairs, body as base64 (or null), route, tags if any.
 */
function requestLine(
  send: ExportedSend,
  request: ExportedRequest,
  tags: Readonly<Record<string, string>> | null,
): string {
  return `${inertJson({
    i: send.index,
    t: send.offsetNs / 1e6,
    m: request.method,
    p: asciiTarget(request.path),
    h: headerPairs(request.headers),
    b: request.body === null ? null : Buffer.from(request.body).toString('base64'),
    // The name in the tool's printed statistics.
    r: shownText(send.row.route ?? request.method),
    ...(tags === null ? {} : { g: tags }),
    ...liveMember(request),
  })}\n`;
}

/** Member `l`: session, places of issued values with their users, taken values, and headers that are sent back. */
function liveMember({ live }: ExportedRequest): object {
  if (live == null || live.issues.length + live.takes.length + live.echoes.length === 0) return {};
  const { session: s, issues: v, users: u, takes: t, echoes: e } = live;
  return { l: { s, v, u, t, e } };
}

/** One of our programs, with its line of settings replaced. */
export function programWith(file: string, line: RegExp, settings: string): string {
  const program = readFileSync(new URL(`./programs/${file}`, import.meta.url), 'utf8');
  if (!line.test(program)) throw new Error(`programs/${file} has no line ${line}`);
  return program.replace(line, () => settings);
}
