import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { AppError, reasonOf } from '../../core/errors.ts';
import { type Endpoint, formatEndpoint, isLoopback } from '../../proxy/net/endpoint.ts';
import { placeOf } from '../../proxy/net/listen.ts';
import { Places } from '../../proxy/net/places.ts';

/** Browsers send a request head in less time. A slow client must not occupy a connection longer. */
const HEADERS_MS = 5_000;
const CONNECTIONS = 64;
const OTHER_NAME =
  'This page answers no host name. Open it by its IP address, or forward its port to 127.0.0.1.\n';
const NOTHING = "default-src 'none'";

/** The current contents of one path. `policy` is a Content-Security-Policy. */
export interface Shown {
  readonly status: 200 | 503;
  readonly type: 'text/html' | 'application/json';
  readonly policy?: string;
  readonly body: string;
}

/**
 * Serves read-only pages, each built when it is requested. It only accepts an IP address or localhost as the host.
 * Otherwise a page of another site could read them through the reader's browser (DNS rebinding). Of too many
 * clients, the one that has waited longest is dropped.
 */
export class LiveServer {
  readonly #pages: Readonly<Record<string, () => Shown>>;
  readonly #server: Server;

  /** @param pages pages by path, including `/` */
  constructor(pages: Readonly<Record<string, () => Shown>>) {
    this.#pages = pages;
    const places = new Places(CONNECTIONS);
    this.#server = createServer(
      { headersTimeout: HEADERS_MS, requestTimeout: HEADERS_MS, connectionsCheckingInterval: HEADERS_MS / 4 },
      (request, response) => {
        places.answers(request.socket, response);
        this.#answer(request, response);
      },
    );
    this.#server.on('connection', (socket) => places.take(socket));
  }

  /**
   * @returns the URL of `/`, and a warning if other machines can reach it
   * @throws AppError LISTEN_FAILED
   */
  listen(endpoint: Endpoint): Promise<{ readonly url: string; readonly warning: string | null }> {
    if (endpoint.kind !== 'tcp') throw notServable(endpoint, 'a browser cannot open a unix socket');
    return new Promise((resolve, reject) => {
      // Stays registered: a later error, such as too many open files, costs only a reader's connection and not the run.
      this.#server.on('error', (error) => reject(notServable(endpoint, reasonOf(error))));
      this.#server.listen(placeOf(endpoint), () => {
        const bound = this.#server.address();
        const port = bound !== null && typeof bound === 'object' ? bound.port : endpoint.port;
        const url = `http://${formatEndpoint({ ...endpoint, port })}/`;
        const warning = `WARNING: everybody who reaches ${url} can read this page; use 127.0.0.1 to keep it on this machine`;
        resolve({ url, warning: isLoopback(endpoint.host) ? null : warning });
      });
    });
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const page = Object.hasOwn(this.#pages, request.url ?? '') ? this.#pages[request.url ?? ''] : undefined;
    if (!isOwnName(request.headers.host)) {
      send(response, 421, 'text/plain', OTHER_NAME);
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      send(response, 405, 'text/plain', 'This page is for reading.\n');
    } else if (page === undefined) {
      send(response, 404, 'text/plain', `There is ${Object.keys(this.#pages).join(' and ')}.\n`);
    } else {
      answerWith(response, page);
    }
  }
}

/** An error while building a page must not end the run. */
function answerWith(response: ServerResponse, page: () => Shown): void {
  try {
    const { status, type, policy, body } = page();
    send(response, status, type, body, policy);
  } catch (error) {
    send(response, 500, 'text/plain', `This page cannot be drawn: ${reasonOf(error)}\n`);
  }
}

function send(response: ServerResponse, status: number, type: string, body: string, policy = NOTHING): void {
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

/** Whether it is an IP address or localhost. Other names that resolve to this host are refused. */
function isOwnName(host: string | undefined): boolean {
  const name = (host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  return name === 'localhost' || isIP(name) !== 0;
}

function notServable(endpoint: Endpoint, reason: string): AppError {
  return new AppError('LISTEN_FAILED', `--serve ${formatEndpoint(endpoint)}: ${reason}`, {
    hint: 'Give a free address of this host, such as 127.0.0.1:9465.',
  });
}
