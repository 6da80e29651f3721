import { createServer as createHttp2Server, type Http2Server } from 'node:http2';
import { createServer, type Server, type Socket } from 'node:net';
import { NOTHING_EXPECTED } from '../answers/expected-answer.ts';
import type { PreparedRequest } from './messages.ts';

const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}';
/** The prefix of a message of gRPC: not compressed, no bytes. */
const EMPTY_MESSAGE = Buffer.alloc(5);
const HEAD_END = '\r\n\r\n';
const LENGTH = /\r\ncontent-length: *(\d+)/i;
/** Our own heads are shorter than this. */
const MAX_HEAD_BYTES = 16_384;

/** A server that reads requests with a content-length and answers each at once. */
export function createNullServer(): Server {
  return createServer({ noDelay: true }, (socket) => new NullConnection(socket));
}

/** A server of gRPC without TLS that reads each call, and answers it with an empty message. */
export function createNullGrpcServer(): Http2Server {
  const server = createHttp2Server();
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    stream.resume().on('end', () => {
      if (stream.destroyed) return;
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(EMPTY_MESSAGE);
    });
  });
  return server;
}

class NullConnection {
  readonly #socket: Socket;
  #head = '';
  /** Remaining bytes of the current body. */
  #left = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => this.#take(chunk));
  }

  #take(chunk: Buffer): void {
    let at = 0;
    let answers = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, chunk.length - at);
        this.#left -= taken;
        at += taken;
        if (this.#left === 0) answers += 1;
        continue;
      }
      const before = this.#head.length;
      this.#head += chunk.toString('latin1', at);
      const end = this.#head.indexOf(HEAD_END);
      if (end < 0) {
        if (this.#head.length > MAX_HEAD_BYTES) this.#socket.destroy();
        break;
      }
      at += end + HEAD_END.length - before;
      this.#left = Number(LENGTH.exec(this.#head.slice(0, end))?.[1] ?? 0);
      this.#head = '';
      if (this.#left === 0) answers += 1;
    }
    if (answers > 0) this.#socket.write(ANSWER.repeat(answers));
  }
}

const HEADERS: readonly string[] = [
  ...['User-Agent', 'python-requests/2.32.3'],
  ...['Accept', '*/*'],
  ...['Content-Type', 'application/json'],
  ...['x-reprise-run', 'selftest'],
];

const GRPC_HEADERS: readonly string[] = [
  ...['te', 'trailers'],
  ...['content-type', 'application/grpc'],
  ...['user-agent', 'grpc-python/1.71.0 grpc-c/46.0.0 (linux; chttp2)'],
  ...['x-reprise-run', 'selftest'],
];
const UNARY = { grpc: true, connection: null, deadlineNs: null, wantsMessage: true, parts: [] } as const;

/** A unary call with one message. */
export function syntheticCall(index: number, intendedOffsetNs: number, message: Buffer): PreparedRequest {
  return {
    ...syntheticRequest(index, intendedOffsetNs, message),
    path: '/inference.GRPCInferenceService/ModelInfer',
    headers: GRPC_HEADERS,
    http2: UNARY,
  };
}

/** A POST as a client in Python sends it. */
export function syntheticRequest(
  index: number,
  intendedOffsetNs: number,
  body: Buffer | null,
): PreparedRequest {
  return {
    index,
    intendedOffsetNs,
    method: 'POST',
    path: `/${index}`,
    headers: HEADERS,
    body,
    chunked: false,
    answer: NOTHING_EXPECTED,
  };
}
