import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { absentPage, LIVE_POLICY, livePage } from '../analysis/pages/live-page.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import type { RecorderStatus } from '../core/status.ts';
import { type Endpoint, formatEndpoint } from '../proxy/endpoint.ts';
import { placeOf } from '../proxy/listening.ts';

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
      send(response, 421, 'text/plain', 'This page is served under its own address alone.\n');
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      send(response, 405, 'text/plain', 'This page is for reading.\n');
    } else if (request.url === '/') await this.#show(response, PAGE);
    else if (request.url === '/status.json') await this.#show(response, DOCUMENT);
    else send(response, 404, 'text/plain', 'There is / and /status.json.\n');
  }

  async #show(response: ServerResponse, { type, status, absent }: Showing): Promise<void> {
    let reading: RecorderStatus;
    try {
      reading = await this.#ask();
    } catch (error) {
      send(response, 503, type, absent(reasonOf(error), error instanceof AppError ? error.hint : null));
      return;
    }
    send(response, 200, type, status(reading));
  }
}

/** One way to show a recorder, while it answers and while it does not. */
interface Showing {
  readonly type: string;
  readonly status: (status: RecorderStatus) => string;
  readonly absent: (error: string, hint: string | null) => string;
}

const PAGE: Showing = {
  type: 'text/html',
  status: livePage,
  absent: (error, hint) => absentPage(hint === null ? error : `${error}. ${hint}`),
};

const DOCUMENT: Showing = {
  type: 'application/json',
  status: JSON.stringify,
  absent: (error, hint) => JSON.stringify({ error, hint }),
};

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'content-type': `${type}; charset=utf-8`,
    'content-security-policy': LIVE_POLICY,
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
