import {
  createServer as createHttp1Server,
  type Server as Http1Server,
  type RequestListener,
} from 'node:http';
import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2';
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { TlsFiles } from '../../proxy/net/tls-files.ts';

/** Longer than clients keep idle connections, so that no connection is closed while it is used. */
const KEEP_ALIVE_MS = 65_000;
/** HTTP/1.1 first, as a recorder prefers it. gRPC clients offer only `h2`. */
const PROTOCOLS = ['http/1.1', 'h2'];
/** The first bytes of a client that speaks HTTP/2 without TLS. No method of HTTP/1.1 starts with them. */
const PREFACE = Buffer.from('PRI ');

export interface ProtocolListeners {
  readonly http1: RequestListener;
  readonly http2: (request: Http2ServerRequest, response: Http2ServerResponse) => void;
}

/** A server of HTTP/1.1 and HTTP/2 on one port: by prior knowledge without TLS, and by ALPN with it. */
export class TwoProtocols {
  readonly server: Server;
  readonly #first: Http1Server;
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<ServerHttp2Session>();

  constructor({ http1, http2 }: ProtocolListeners, tls: TlsFiles | null) {
    this.#first = createHttp1Server({ keepAliveTimeout: KEEP_ALIVE_MS }, http1);
    // Node ends connections whose head never ends only for a server that listens.
    this.#first.emit('listening');
    const second = createHttp2Server(http2);
    second.on('session', (session) => {
      this.#sessions.add(session);
      session.on('error', () => undefined);
      session.on('close', () => this.#sessions.delete(session));
    });
    const take = (socket: Socket, isHttp2: boolean) =>
      (isHttp2 ? second : this.#first).emit('connection', socket);
    if (tls === null)
      this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        // Until a protocol takes the connection. A client that leaves before needs no answer.
        socket.on('error', () => undefined);
        sniff(socket, (isHttp2) => take(socket, isHttp2));
      });
    else {
      const server = createTlsServer({ ...tls.contents, ALPNProtocols: PROTOCOLS, noDelay: true });
      server.on('secureConnection', (socket: TLSSocket) => take(socket, socket.alpnProtocol === 'h2'));
      tls.onReplaced.push(() => server.setSecureContext(tls.contents));
      this.server = server;
    }
    this.server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  /** Closes all connections, including those with an unfinished answer. */
  async stop(): Promise<void> {
    await new Promise((resolve) => {
      this.#first.close();
      this.server.close(resolve);
      for (const session of this.#sessions) session.destroy();
      for (const socket of this.#sockets) socket.destroy();
    });
  }
}

/** Reads as many bytes as are needed to know the protocol, and puts them back. */
function sniff(socket: Socket, known: (isHttp2: boolean) => void): void {
  let head: Buffer = Buffer.alloc(0);
  const leave = (): void => void socket.destroy();
  const look = (): void => {
    const bytes: Buffer | null = socket.read();
    if (bytes === null) return;
    head = Buffer.concat([head, bytes]);
    const length = Math.min(head.length, PREFACE.length);
    const isHttp2 = head.subarray(0, length).equals(PREFACE.subarray(0, length));
    if (isHttp2 && length < PREFACE.length) return;
    socket.off('readable', look);
    socket.setTimeout(0, leave);
    // The listener and the time-out are removed first, because bytes that were put back can be read again immediately.
    socket.unshift(head);
    known(isHttp2);
  };
  socket.setTimeout(KEEP_ALIVE_MS, leave);
  socket.on('readable', look);
}
