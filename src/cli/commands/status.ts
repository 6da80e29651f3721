import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { Command } from 'commander';
import type { PageAssets } from '../../analysis/render/html.ts';
import { absentPage, livePage, livePolicy } from '../../analysis/render/live-page.ts';
import { columnsOf, tableLines } from '../../analysis/render/table.ts';
import { livePageAssets } from '../../app/package.ts';
import { ask } from '../../app/recorder-control.ts';
import type { RecorderStatus, StatusTally } from '../../core/accounting.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { value } from '../../core/options.ts';
import { formatBytes, formatInstantUs } from '../../core/units.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../../proxy/net/endpoint.ts';
import { placeOf } from '../../proxy/net/listen.ts';
import { addOptions, optionsOf } from '../options.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';
import { CONTROL_OPTIONS } from './control.ts';

/** Longer than any browser's head, and far less than a head could be. */
const HEADERS_MS = 5_000;
const CONNECTIONS = 64;

/**
 * Serves the live page of a recorder, read-only: `/` and `/status.json`, each an answer of the recorder itself.
 * A page of another site cannot read it through the reader's browser: only names of this very address are answered.
 */
export class StatusServer {
  readonly #ask: () => Promise<RecorderStatus>;
  readonly #server: Server;
  readonly #page = showingPage(livePageAssets());

  /** @param ask asks the recorder how it fares; what it throws is shown. */
  constructor(ask: () => Promise<RecorderStatus>) {
    this.#ask = ask;
    this.#server = createServer(
      { headersTimeout: HEADERS_MS, requestTimeout: HEADERS_MS },
      (request, response) => {
        void this.#answer(request, response);
      },
    );
    this.#server.maxConnections = CONNECTIONS;
  }

  /**
   * @returns the address that was bound
   * @throws AppError LISTEN_FAILED
   */
  listen(endpoint: Endpoint): Promise<Endpoint> {
    if (endpoint.kind !== 'tcp') throw notServable(endpoint, 'a browser cannot open a unix socket');
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => reject(notServable(endpoint, reasonOf(error))));
      this.#server.listen(placeOf(endpoint), () => {
        const bound = this.#server.address();
        resolve(bound !== null && typeof bound === 'object' ? { ...endpoint, port: bound.port } : endpoint);
      });
    });
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!isOwnName(request.headers.host)) {
      send(response, 421, { type: 'text/plain' }, 'This page is served under its own address alone.\n');
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      send(response, 405, { type: 'text/plain' }, 'This page is for reading.\n');
    } else if (request.url === '/') await this.#show(response, this.#page);
    else if (request.url === '/status.json') await this.#show(response, DOCUMENT);
    else send(response, 404, { type: 'text/plain' }, 'There is / and /status.json.\n');
  }

  async #show(response: ServerResponse, showing: Showing): Promise<void> {
    let reading: RecorderStatus;
    try {
      reading = await this.#ask();
    } catch (error) {
      const hint = error instanceof AppError ? error.hint : null;
      send(response, 503, showing, showing.absent(reasonOf(error), hint));
      return;
    }
    send(response, 200, showing, showing.status(reading));
  }
}

/** One way to show a recorder, while it answers and while it does not. */
interface Showing {
  readonly type: string;
  readonly policy: string;
  readonly status: (status: RecorderStatus) => string;
  readonly absent: (error: string, hint: string | null) => string;
}

function showingPage(assets: PageAssets): Showing {
  return {
    type: 'text/html',
    policy: livePolicy(assets),
    status: (status) => livePage(status, assets),
    absent: (error, hint) => absentPage(hint === null ? error : `${error}. ${hint}`, assets),
  };
}

const DOCUMENT: Showing = {
  type: 'application/json',
  policy: "default-src 'none'",
  status: JSON.stringify,
  absent: (error, hint) => JSON.stringify({ error, hint }),
};

function send(
  response: ServerResponse,
  status: number,
  { type, policy = "default-src 'none'" }: { readonly type: string; readonly policy?: string },
  body: string,
): void {
  response.writeHead(status, {
    'content-type': `${type}; charset=utf-8`,
    'content-security-policy': policy,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
  });
  response.end(body);
}

/** An IP address or localhost: a foreign name that resolves to us is not ours. */
function isOwnName(host: string | undefined): boolean {
  const name = (host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  return name === 'localhost' || isIP(name) !== 0;
}

function notServable(endpoint: Endpoint, reason: string): AppError {
  return new AppError('LISTEN_FAILED', `--serve ${formatEndpoint(endpoint)}: ${reason}`, {
    hint: 'Give a free address of this host, such as 127.0.0.1:9465.',
  });
}

const OPTIONS = {
  ...CONTROL_OPTIONS,
  serve: value(
    '--serve <address>',
    'serve a live page on this address, such as 127.0.0.1:9465, until stopped',
    (address, what) => parseEndpoint(address, what, { anyPort: true }),
  ),
};

/** `reprise status --dir DIR`: how a running recording fares. */
export function statusCommand(): Command {
  return addOptions(new Command('status'), OPTIONS)
    .description('show the state of a running recording')
    .action(async (_: object, command: Command) => {
      const { dir, json, serve: address } = optionsOf(command, OPTIONS);
      if (address !== null) {
        await serve(dir, address);
        return;
      }
      const status = await ask(dir, 'GET', '/status');
      if (json) terminal.json(status);
      else terminal.print(...statusLines(status));
    });
}

/** Until SIGINT or SIGTERM; the recording need not be there yet, or all the time. */
async function serve(directory: string, address: Endpoint): Promise<void> {
  const server = new StatusServer(() => ask(directory, 'GET', '/status'));
  const bound = await server.listen(address);
  const interruption = new Interruption();
  terminal.note(`the live page is at http://${formatEndpoint(bound)}/; Ctrl-C ends it`);
  if (!interruption.signal.aborted) await once(interruption.signal, 'abort');
  server.close();
  interruption.end();
}

function statusLines(status: RecorderStatus): string[] {
  const { connections, restarts, disk } = status;
  const rows: [string, string][] = [
    ['state', `${status.state}${status.why === null ? '' : ` (${status.why})`}`],
    ['traffic', trafficText(status)],
    ['pairs', status.pairs.map(({ listen, target }) => `${listen} to ${target}`).join(', ')],
    ['routes', status.routes.map(({ path, target }) => `${path} to ${target}`).join(', ') || 'none'],
    ['since', formatInstantUs(status.startedUs)],
    [
      'connections',
      `${connections.open} open, ${connections.seen} seen, ${connections.turnedAway} turned away`,
    ],
    ['failed', countsText(connections.failed)],
    ['refused', countsText(connections.refused)],
    ['probes dropped', String(status.probesDropped)],
    ['seen', tallyText(status.seen)],
    ['recorded', `${tallyText(status.recorded)}, ${status.exchanges} exchanges`],
    ['lost', talliesText(status.lost)],
    ['omitted', talliesText(status.omitted)],
    ['pending', tallyText(status.pending)],
    ['queue', formatBytes(status.queuedBytes)],
    ['bodies cut', String(status.bodiesCut)],
    ['bodies dropped', countsText(status.traffic.bodiesDropped)],
    ['protocols', protocolsText(status.traffic.protocols)],
    ['recorder', sizeText(status.recorderResidentBytes)],
    ['restarts', `recorder ${restarts.recorder}`],
    ['capture', disk.directory],
    ['on disk', `${sizeText(disk.bytes)} of ${sizeText(disk.maxBytes)}, ${sizeText(disk.freeBytes)} free`],
  ];
  return tableLines(columnsOf(['', ''], []), rows).slice(1);
}

function trafficText({ ready, draining, mode }: RecorderStatus): string {
  const accepting = ready ? 'accepted' : 'not accepted';
  return `${draining ? 'draining' : accepting} (${mode})`;
}

function tallyText({ bytes, turns }: StatusTally): string {
  return `${formatBytes(bytes)} in ${turns} turns`;
}

function talliesText(tallies: Readonly<Partial<Record<string, StatusTally>>>): string {
  const texts = Object.entries(tallies).map(([name, tally]) => `${name} ${tally ? tallyText(tally) : ''}`);
  return texts.join(', ') || 'nothing';
}

function protocolsText(protocols: RecorderStatus['traffic']['protocols']): string {
  const texts = Object.entries(protocols).map(([name, count = { connections: 0, bytes: 0 }]) => {
    return `${name} ${count.connections} (${formatBytes(count.bytes)})`;
  });
  return texts.join(', ') || 'none ended';
}

function countsText(counts: Readonly<Record<string, number>>): string {
  const texts = Object.entries(counts).filter(([, count]) => count > 0);
  return texts.map(([name, count]) => `${name} ${count}`).join(', ') || 'none';
}

/** An unknown size is shown as unknown: 0 would be wrong. */
function sizeText(bytes: number | null): string {
  return bytes === null ? 'unknown' : formatBytes(bytes);
}
