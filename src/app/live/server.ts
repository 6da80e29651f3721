import type { IncomingMessage, Server } from 'node:http';
import { AppError, reasonOf } from '../../core/errors.ts';
import { type Endpoint, formatEndpoint, isLoopback } from '../../proxy/net/endpoint.ts';
import { placeOf } from '../../proxy/net/listen.ts';
import { type Answer, smallServer, text } from '../../proxy/net/small-server.ts';

const REQUEST_MS = 5_000;
const CONNECTIONS = 64;
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
    this.#server = smallServer({
      connections: CONNECTIONS,
      callers: 'browsers',
      requestMs: REQUEST_MS,
      answer: (request) => this.#answer(request),
    });
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

  #answer({ url = '', method }: IncomingMessage): Answer {
    const page = Object.hasOwn(this.#pages, url) ? this.#pages[url] : undefined;
    if (method !== 'GET' && method !== 'HEAD') return text(405, 'This page is for reading.', HEADERS);
    if (page === undefined) return text(404, `There is ${Object.keys(this.#pages).join(' and ')}.`, HEADERS);
    try {
      const { status, type, policy = NOTHING, body } = page();
      const headers = { ...HEADERS, 'content-security-policy': policy };
      return { status, type: `${type}; charset=utf-8`, body, headers };
    } catch (error) {
      // An error while building a page must not end the run.
      return text(500, `This page cannot be drawn: ${reasonOf(error)}`, HEADERS);
    }
  }
}

const HEADERS = {
  'content-security-policy': NOTHING,
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
};

function notServable(endpoint: Endpoint, reason: string): AppError {
  return new AppError('LISTEN_FAILED', `--serve ${formatEndpoint(endpoint)}: ${reason}`, {
    hint: 'Give a free address of this host, such as 127.0.0.1:9465.',
  });
}
