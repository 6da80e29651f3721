import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP, type Socket } from 'node:net';
import { LIMITS } from '../../core/limits.ts';

/** An answer. `headers` are sent in addition to those of every answer. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

export function text(status: number, line: string, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, type: 'text/plain; charset=utf-8', body: `${line}\n`, headers };
}

export function json(status: number, document: unknown): Answer {
  return { status, type: 'application/json; charset=utf-8', body: `${JSON.stringify(document)}\n` };
}

/** Browsers and programs send a request head in less time. */
const HEAD_MS = 5_000;
/** A client that takes none of its answer for so long is dropped. */
const SLOW_READER_MS = 30_000;

interface SmallServerOptions {
  readonly connections: number;
  /**
   * Who may ask. A web page must not reach a port of this machine through its reader's browser: `programs` refuses
   * browsers. `browsers` takes only requests to an IP address or localhost, so that no name of another site leads here
   * (DNS rebinding).
   */
  readonly callers: 'programs' | 'browsers' | 'anyone';
  /** Within this time a request must have arrived, with its body. */
  readonly requestMs?: number;
  /** Whether requests may have a body. */
  readonly takesBodies?: boolean;
  /** @param gone aborts if the client leaves before its answer */
  readonly answer: (request: IncomingMessage, gone: AbortSignal) => Answer | Promise<Answer>;
  /** Called when a connection is dropped for a new one. */
  readonly dropped?: () => void;
}

/**
 * A server for pages, probes and control: small heads, few connections, short time limits. So no client can make it
 * hold much memory, or keep others out.
 */
export function smallServer(options: SmallServerOptions): Server {
  const { connections, requestMs = LIMITS.requestHeadMs, dropped } = options;
  const headersTimeout = Math.min(requestMs, HEAD_MS);
  const places = new Places(connections, dropped);
  const server = createServer(
    {
      maxHeaderSize: LIMITS.requestHeadBytes,
      headersTimeout,
      requestTimeout: requestMs,
      keepAliveTimeout: LIMITS.idleProbeMs,
      connectionsCheckingInterval: headersTimeout / 4,
    },
    (request, response) => {
      places.answers(request.socket, response);
      void respond(request, response, options);
    },
  );
  return server.on('connection', (socket) => places.take(socket));
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  options: SmallServerOptions,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const { status, type, body, headers } = await answerOf(request, options, gone.signal);
  if (!request.complete || (hasBody(request) && options.takesBodies !== true)) {
    response.setHeader('Connection', 'close');
  }
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body;
  response.setTimeout(SLOW_READER_MS, () => request.socket.destroy());
  response.writeHead(status, {
    ...(status === 204 ? {} : { 'Content-Type': type, 'Content-Length': bytes.length }),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...headers,
  });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

async function answerOf(
  request: IncomingMessage,
  { callers, takesBodies = false, answer }: SmallServerOptions,
  gone: AbortSignal,
): Promise<Answer> {
  const { headers } = request;
  const isBrowser = headers['user-agent']?.startsWith('Mozilla/') || headers.origin !== undefined;
  if (callers === 'programs' && isBrowser) return text(403, 'browsers are refused');
  if (callers === 'browsers' && !isOwnName(headers.host)) return text(421, OTHER_NAME);
  if (!takesBodies && hasBody(request)) return text(413, 'no body is taken here');
  try {
    return await answer(request, gone);
  } catch {
    // An internal error: its text may hold paths, so the client does not get it.
    return text(500, 'this could not be answered');
  }
}

const OTHER_NAME =
  'This page answers no host name. Open it by its IP address, or forward its port to 127.0.0.1.';

/** Whether it is an IP address or localhost. Other names that resolve to this host are refused. */
function isOwnName(host: string | undefined): boolean {
  const name = (host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  return name === 'localhost' || isIP(name) !== 0;
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** The body of a request. @returns null if it has more bytes; the rest is not read */
export async function bodyOf(request: IncomingMessage, most: number): Promise<string | null> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > most) return null;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

/**
 * The open connections of a server. If all places are taken, a new one replaces the one that has waited longest for a
 * head. So a client that holds connections open cannot keep others out. Connections with an answer in progress are
 * dropped last.
 */
class Places {
  readonly #most: number;
  readonly #dropped: () => void;
  /** In the order in which they began to wait. */
  readonly #waiting = new Set<Socket>();
  readonly #answered = new Set<Socket>();

  /** @param dropped called when a connection is dropped for a new one */
  constructor(most: number, dropped: () => void = () => undefined) {
    this.#most = most;
    this.#dropped = dropped;
  }

  take(socket: Socket): void {
    if (this.#waiting.size + this.#answered.size >= this.#most) this.#dropOldest();
    this.#waiting.add(socket);
    socket.once('close', () => {
      this.#waiting.delete(socket);
      this.#answered.delete(socket);
    });
  }

  answers(socket: Socket, response: ServerResponse): void {
    this.#waiting.delete(socket);
    this.#answered.add(socket);
    response.once('finish', () => {
      if (this.#answered.delete(socket) && !socket.destroyed) this.#waiting.add(socket);
    });
  }

  #dropOldest(): void {
    for (const connections of [this.#waiting, this.#answered]) {
      for (const oldest of connections) {
        connections.delete(oldest);
        oldest.destroy();
        this.#dropped();
        return;
      }
    }
  }
}
