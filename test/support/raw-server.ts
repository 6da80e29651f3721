import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { headerValue, parseRequestHead, type RequestHead } from '../../src/core/headers.ts';

/** One request with its bytes as on the wire. */
export interface RawRequest extends RequestHead {
  /** From the request line to the blank line. */
  readonly head: Buffer;
  /** The body without chunk framing. */
  readonly body: Buffer;
  /** The body with its chunk framing. */
  readonly rawBody: Buffer;
  readonly chunked: boolean;
  /** Number of its connection, and its number on that connection; both from 0. */
  readonly connection: number;
  readonly nth: number;
}

/** Called for each complete request. The server sends no answers by itself. */
export type Respond = (request: RawRequest, socket: Socket) => void;

/** A complete answer with a content-length. */
export function answer(
  body: string | Buffer = 'ok',
  status = '200 OK',
  headers: readonly string[] = [],
): Buffer {
  const bytes = Buffer.from(body);
  const lines = [`HTTP/1.1 ${status}`, ...headers, `content-length: ${bytes.length}`, '', ''];
  return Buffer.concat([Buffer.from(lines.join('\r\n'), 'latin1'), bytes]);
}

/** Answers everything with 200. */
export const answerAll: Respond = (_request, socket) => {
  socket.write(answer());
};

/**
 * A TCP server that keeps all received bytes by connection, and parses requests without an HTTP library. So tests
 * compare the bytes on the wire.
 */
export class RawServer {
  /** Complete requests in the order of their last byte. */
  readonly requests: RawRequest[] = [];
  /** Its port, which is also known after the server is closed. */
  port = 0;
  readonly #server: Server;
  readonly #sockets: Socket[] = [];
  readonly #received: Buffer[][] = [];

  private constructor(respond: Respond) {
    this.#server = createServer((socket) => this.#accept(socket, respond));
  }

  /** @param at a host, or the path of a unix socket */
  static async start(respond: Respond = answerAll, at = '127.0.0.1'): Promise<RawServer> {
    const server = new RawServer(respond);
    if (at.startsWith('/')) server.#server.listen(at);
    else server.#server.listen(0, at);
    await once(server.#server, 'listening');
    const address = server.#server.address();
    server.port = typeof address === 'string' ? 0 : ((address as AddressInfo | null)?.port ?? 0);
    return server;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Number of accepted connections so far, including closed ones. */
  get connections(): number {
    return this.#sockets.length;
  }

  /** Number of open connections. */
  get openConnections(): number {
    return this.#sockets.filter((socket) => !socket.destroyed).length;
  }

  /** Ends every open connection, as a server does with idle ones. */
  closeConnections(): void {
    for (const socket of this.#sockets) socket.end();
  }

  /** All bytes received on one connection. */
  received(connection: number): Buffer {
    return Buffer.concat(this.#received[connection] ?? []);
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(socket: Socket, respond: Respond): void {
    const connection = this.#sockets.push(socket) - 1;
    const received: Buffer[] = [];
    this.#received.push(received);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    let pending: Buffer = Buffer.alloc(0);
    let nth = 0;
    socket.on('data', (chunk) => {
      received.push(chunk);
      pending = Buffer.concat([pending, chunk]);
      for (let taken = takeRequest(pending); taken; taken = takeRequest(pending)) {
        pending = pending.subarray(taken.bytes);
        const request: RawRequest = { ...taken.request, connection, nth: nth++ };
        this.requests.push(request);
        respond(request, socket);
      }
    });
  }
}

interface Taken {
  readonly bytes: number;
  readonly request: Omit<RawRequest, 'connection' | 'nth'>;
}

/** The first complete request of `bytes`; null if it is incomplete. */
function takeRequest(bytes: Buffer): Taken | null {
  const headEnd = bytes.indexOf('\r\n\r\n') + 4;
  if (headEnd < 4) return null;
  const head = bytes.subarray(0, headEnd);
  const parsed = parseRequestHead(head);
  const chunked = headerValue(parsed.headers, 'transfer-encoding') !== null;
  const length = Number(headerValue(parsed.headers, 'content-length') ?? 0);
  const rest = bytes.subarray(headEnd);
  const content = chunked ? takeChunks(rest) : { rawBytes: length, body: rest.subarray(0, length) };
  if (content === null || rest.length < content.rawBytes) return null;
  const rawBody = rest.subarray(0, content.rawBytes);
  return {
    bytes: headEnd + content.rawBytes,
    request: { ...parsed, head, body: content.body, rawBody, chunked },
  };
}

function takeChunks(bytes: Buffer): { rawBytes: number; body: Buffer } | null {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    const start = lineEnd + 2;
    if (size === 0) {
      // The blank line follows at once, because no test sends trailers.
      return bytes.length < start + 2 ? null : { rawBytes: start + 2, body: Buffer.concat(chunks) };
    }
    if (bytes.length < start + size + 2) return null;
    chunks.push(bytes.subarray(start, start + size));
    at = start + size + 2;
  }
}
