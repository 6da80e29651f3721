import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { type ClientHttp2Session, connect, constants, createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { grpcMessagesOf } from '../../src/inference/grpc.ts';
import { grpcMessage } from './grpc.ts';
import { afterwards } from './leftovers.ts';

/** What one side of a call got: the contents of its messages in order, with the flag of those that are compressed. */
export type Messages = readonly { readonly content: string; readonly compressed: boolean }[];

export function messagesIn(body: Buffer): Messages {
  return grpcMessagesOf(body).messages.map(({ compressed, from, to }) => ({
    content: body.toString('latin1', from, to),
    compressed,
  }));
}

/** What the server does with a call, once all of its request has come. */
export type Method = (stream: ServerHttp2Stream, sent: Buffer) => Promise<void> | void;

export interface GrpcServer {
  readonly port: number;
  /** Requests by path, in the order of their ends. */
  readonly got: Map<string, Messages[]>;
  /** Called as soon as a stream begins. */
  onStream: (stream: ServerHttp2Stream) => void;
}

const HEAD = { ':status': 200, 'content-type': 'application/grpc' };

export function answer(stream: ServerHttp2Stream, body: Uint8Array | null, status = 0): void {
  stream.respond(HEAD, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status), 'grpc-message': '' }));
  if (body === null) stream.end();
  else stream.end(body);
}

export function trailersOnly(stream: ServerHttp2Stream, status: number): void {
  stream.respond({ ...HEAD, 'grpc-status': String(status), 'grpc-message': 'busy' }, { endStream: true });
}

/** A server of gRPC over HTTP/2 with prior knowledge, and of HTTP/1.1, on one port. Plain requests get `plain`. */
export async function startGrpcServer(methods: Readonly<Record<string, Method>>): Promise<GrpcServer> {
  const got = new Map<string, Messages[]>();
  const stage = { port: 0, got, onStream: (_stream: ServerHttp2Stream): void => undefined };
  const http1 = createHttpServer((request, response) => {
    request.resume().on('end', () => response.end('one'));
  });
  const http2 = createHttp2Server();
  http2.on('stream', (stream, headers) => {
    stage.onStream(stream);
    const path = String(headers[':path']);
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const sent = Buffer.concat(chunks);
      got.set(path, [...(got.get(path) ?? []), messagesIn(sent)]);
      const method = methods[path];
      if (method !== undefined) void method(stream, sent);
      else {
        stream.respond({ ':status': 200, 'content-type': 'text/plain' });
        stream.end('plain');
      }
    });
  });
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('readable', () => {
      const first: Buffer | null = socket.read();
      if (first === null) return;
      socket.unshift(first);
      const isHttp2 = first.subarray(0, 3).toString() === 'PRI';
      (isHttp2 ? http2 : http1).emit('connection', socket);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterwards(() => void server.close());
  stage.port = (server.address() as AddressInfo).port;
  return stage;
}

export interface Called {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly messages: Messages;
}

export class GrpcClient {
  readonly #session: ClientHttp2Session;

  constructor(port: number) {
    this.#session = connect(`http://127.0.0.1:${port}`);
    this.#session.on('error', () => undefined);
    afterwards(() => this.#session.destroy());
  }

  /**
   * Sends the pieces, each `gapMs` after the one before, and reads the answer to its end.
   * @param leaveAfterMs when the client resets the stream
   */
  async call(
    path: string,
    pieces: readonly Uint8Array[],
    { headers = {}, gapMs = 0, leaveAfterMs = null as number | null } = {},
  ): Promise<Called> {
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': path,
      te: 'trailers',
      'content-type': 'application/grpc',
      ...headers,
    });
    stream.on('error', () => undefined);
    const parts: { headers: IncomingHttpHeaders; trailers: IncomingHttpHeaders } = {
      headers: {},
      trailers: {},
    };
    const chunks: Buffer[] = [];
    stream.on('response', (fields) => {
      parts.headers = fields;
    });
    stream.on('trailers', (fields) => {
      parts.trailers = fields;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    const closed = once(stream, 'close');
    for (const piece of pieces) {
      stream.write(piece);
      if (gapMs > 0) await sleep(gapMs);
    }
    stream.end();
    if (leaveAfterMs !== null) setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), leaveAfterMs);
    await closed;
    return { ...parts, messages: messagesIn(Buffer.concat(chunks)) };
  }

  /** A plain GET. @returns its status and body */
  async get(path: string): Promise<readonly [number, string]> {
    const stream = this.#session.request({ ':path': path });
    const responded = once(stream, 'response');
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    const [headers] = (await responded) as [IncomingHttpHeaders & { ':status'?: number }];
    return [headers[':status'] ?? 0, Buffer.concat(chunks).toString()];
  }

  async close(): Promise<void> {
    const closed = once(this.#session, 'close');
    this.#session.close();
    await closed;
  }
}

/** Messages that are sent in one piece each. */
export function piecesOf(...contents: readonly string[]): Buffer[] {
  return contents.map((content) => grpcMessage(content));
}
