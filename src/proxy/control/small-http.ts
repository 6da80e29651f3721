import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { LIMITS } from '../../core/limits.ts';

/** What is answered. `headers` beside those of every answer. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

type Answering = (method: string, path: string) => Answer | Promise<Answer>;

const TEXT = 'text/plain; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';

export function text(status: number, body: string, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, type: TEXT, body: `${body}\n`, headers };
}

export function json(status: number, document: object): Answer {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(document)}\n` };
}

/**
 * A server for probes and control: small heads, no bodies, few connections, short times. Whoever asks slowly,
 * sends a body or keeps many connections is turned away, and nothing that is asked can make it hold much.
 */
export function smallServer(connections: number, answering: Answering): Server {
  const server = createServer(
    {
      maxHeaderSize: LIMITS.requestHeadBytes,
      headersTimeout: LIMITS.requestHeadMs,
      requestTimeout: LIMITS.requestHeadMs,
      keepAliveTimeout: LIMITS.requestHeadMs,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => void respond(request, response, answering),
  );
  server.maxConnections = connections;
  return server;
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  answering: Answering,
): Promise<void> {
  const { status, type, body, headers } = await answerOf(request, answering);
  if (hasBody(request)) response.setHeader('Connection', 'close');
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body;
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': bytes.length,
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...headers,
  });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

async function answerOf(request: IncomingMessage, answering: Answering): Promise<Answer> {
  if (hasBody(request)) return text(413, 'no body is taken here');
  const path = (request.url ?? '/').split('?')[0] ?? '/';
  try {
    return await answering(request.method ?? 'GET', path);
  } catch {
    // What failed is ours; its text may hold paths, and whoever asks is not told.
    return text(500, 'this could not be answered');
  }
}

function hasBody(request: IncomingMessage): boolean {
  return (
    request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0
  );
}
