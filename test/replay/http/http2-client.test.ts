import { once } from 'node:events';
import {
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, test } from 'vitest';
import type { Http2Part, PreparedRequest } from '../../../src/replay/engine/messages.ts';
import { LOCAL_CERTIFICATE_KEY_PEM, LOCAL_CERTIFICATE_PEM } from '../../support/certificate.ts';
import { grpcMessage } from '../../support/grpc.ts';
import { answer, trailersOnly } from '../../support/grpc-server.ts';
import { FRAME_FLAG, FRAME_TYPE, frame, settingsFrame, uint32 } from '../../support/http2-frames.ts';
import { afterwards } from '../../support/leftovers.ts';
import { hearing, http2To, outgoing, play, serve } from '../../support/transport-stage.ts';

const PREFACE_BYTES = 24;
const TLS = { cert: LOCAL_CERTIFICATE_PEM, key: LOCAL_CERTIFICATE_KEY_PEM };

interface Seen {
  readonly headers: IncomingHttpHeaders;
  readonly raw: readonly string[];
  readonly session: ServerHttp2Stream['session'];
}

interface Http2Stage {
  readonly origin: string;
  readonly seen: Seen[];
  readonly sessions: Set<ServerHttp2Session>;
}

type Respond = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, nth: number) => void;

/** Reads the whole request, then answers one message and OK. */
const answerWhole: Respond = (stream) => {
  const chunks: Buffer[] = [];
  stream.on('data', (bytes: Buffer) => chunks.push(bytes));
  stream.on('end', () => answer(stream, Buffer.concat(chunks)));
};

async function serveHttp2(
  respond: Respond = answerWhole,
  options: ServerOptions = {},
  tls: { cert: string; key: string } | null = null,
): Promise<Http2Stage> {
  const server: Http2Server =
    tls === null ? createServer(options) : (createSecureServer({ ...options, ...tls }) as Http2Server);
  const seen: Seen[] = [];
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => undefined);
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, headers, _flags, raw) => {
    stream.on('error', () => undefined);
    seen.push({ headers, raw: raw as unknown as string[], session: stream.session });
    respond(stream, headers, seen.length);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  afterwards(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const origin = tls === null ? `http://127.0.0.1:${port}` : `https://localhost:${port}`;
  return { origin, seen, sessions };
}

/** `:status: 200` as a header block. */
const STATUS_200 = Buffer.from([0x88]);

/** A server that answers each head of a request with bytes of its own. */
async function serveFrames(respond: (stream: number, socket: Socket) => Buffer | Socket): Promise<string> {
  const server = createTcpServer((socket) => {
    const settings = [settingsFrame(), frame(FRAME_TYPE.settings, FRAME_FLAG.ack, 0, Buffer.alloc(0))];
    socket.on('error', () => undefined);
    socket.write(Buffer.concat(settings));
    let bytes = Buffer.alloc(0);
    let isBegun = false;
    socket.on('data', (piece: Buffer) => {
      bytes = Buffer.concat([bytes, piece]);
      if (!isBegun && bytes.length >= PREFACE_BYTES) {
        isBegun = true;
        bytes = bytes.subarray(PREFACE_BYTES);
      }
      while (isBegun && bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const [type, stream] = [bytes[3], bytes.readUInt32BE(5)];
        bytes = bytes.subarray(9 + bytes.readUIntBE(0, 3));
        if (type !== FRAME_TYPE.headers) continue;
        const answered = respond(stream, socket);
        if (Buffer.isBuffer(answered)) socket.write(answered);
      }
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  afterwards(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A gRPC call as a sender has it when it is due. */
function call(
  part: Partial<Http2Part> = {},
  parts: Partial<PreparedRequest> = {},
  index = 0,
): PreparedRequest {
  const http2 = { grpc: true, connection: null, deadlineNs: null, wantsMessage: true, parts: [], ...part };
  const headers = ['content-type', 'application/grpc', 'te', 'trailers', 'x-reprise-run', 'test'];
  return outgoing({ headers, body: grpcMessage('asks'), chunked: true, http2, ...parts }, index);
}

/** A request by HTTP/2 that is no gRPC call. */
function plain(parts: Partial<PreparedRequest> = {}): PreparedRequest {
  return call({ grpc: false }, parts);
}

describe('what goes over the wire', () => {
  test('is the head as prepared: order, duplicates, lower-case names, one authority', async () => {
    const server = await serveHttp2();
    const headers = [
      'X-b',
      '2',
      'content-type',
      'application/grpc',
      'x-B',
      '1',
      'te',
      'trailers',
      'x-latin',
      'é',
    ];
    const outcome = await play(http2To(server.origin), call({}, { path: '/m.S/Call?a=1', headers }));
    expect(outcome).toMatchObject({ error: null, grpcStatus: 0, status: 200 });
    expect(server.seen[0]?.raw).toEqual([
      ...[':method', 'POST', ':path', '/m.S/Call?a=1', ':scheme', 'http'],
      ...[':authority', new URL(server.origin).host],
      ...['x-b', '2', 'content-type', 'application/grpc', 'x-b', '1', 'te', 'trailers', 'x-latin', 'é'],
    ]);
  });

  test('names the host that was asked for, and a length where one was recorded', async () => {
    const server = await serveHttp2();
    const headers = ['content-type', 'text/plain', 'Host', 'models.production:8001'];
    await play(http2To(server.origin), plain({ headers, body: Buffer.from('four'), chunked: false }));
    const { headers: got } = server.seen[0] as Seen;
    expect(got[':authority']).toBe('models.production:8001');
    expect(got['content-length']).toBe('4');
    expect(got['host']).toBeUndefined();
  });

  test.each([0, 1, 70_000, 20_000_000])(
    'is a body of %i bytes, and the answer comes back whole',
    async (bytes) => {
      const server = await serveHttp2();
      const body = grpcMessage(Buffer.alloc(bytes, 'xy'));
      const outcome = await play(http2To(server.origin), call({}, { body }));
      expect(outcome).toMatchObject({ error: null, bytes: body.length, grpcStatus: 0 });
      expect(outcome.events).toEqual(['start', 'body written', 'first byte', 'status', 'end']);
    },
  );

  test('is a request without a body', async () => {
    const server = await serveHttp2((stream) => {
      stream.respond({ ':status': 204 }, { endStream: true });
    });
    const outcome = await play(http2To(server.origin), plain({ method: 'GET', body: null }));
    expect(outcome).toMatchObject({ error: null, status: 204, bytes: 0 });
    expect(outcome).not.toHaveProperty('grpcStatus');
  });

  test('goes by TLS with ALPN, under the name of the target', async () => {
    const server = await serveHttp2(answerWhole, {}, TLS);
    const client = http2To(server.origin, { caPem: TLS.cert }, ['127.0.0.1']);
    expect(await play(client, call())).toMatchObject({ error: null, grpcStatus: 0 });
    expect(server.seen[0]?.headers[':scheme']).toBe('https');
  });
});

describe('parts of a request', () => {
  test('leave at their offsets, none early, and END_STREAM with the last', async () => {
    const arrivals: { at: number; text: string }[] = [];
    const ended = Promise.withResolvers<number>();
    const server = await serveHttp2((stream) => {
      stream.on('data', (bytes: Buffer) =>
        arrivals.push({ at: performance.now(), text: bytes.toString('latin1', 5) }),
      );
      stream.on('end', () => {
        ended.resolve(performance.now());
        answer(stream, grpcMessage('done'));
      });
    });
    const parts = ['one', 'two', 'three'].map((text) => grpcMessage(text));
    const sizes = parts.map(({ length }) => length);
    const http2 = { parts: [0, sizes[0], 0, 60e6, sizes[1], 0, 90e6, sizes[2], 0, 150e6, 0, 0] as number[] };
    const client = http2To(server.origin);
    await client.warm(1);
    const beginMs = performance.now();
    const outcome = await play(client, call(http2, { body: Buffer.concat(parts) }));
    expect(outcome.grpcStatus).toBe(0);
    expect(arrivals.map(({ text }) => text)).toEqual(['one', 'two', 'three']);
    const offsets = [...arrivals.map(({ at }) => at - beginMs), (await ended.promise) - beginMs];
    [0, 60, 90, 150].forEach((least, at) => {
      expect(offsets[at]).toBeGreaterThanOrEqual(least);
    });
  });

  test('do not wait for answers, and those that overtake one are counted', async () => {
    const server = await serveHttp2();
    const parts = ['one', 'two'].map((text) => grpcMessage(text));
    const http2 = { parts: [0, 8, 0, 5e6, 8, 1, 10e6, 0, 2] };
    const client = http2To(server.origin);
    expect((await play(client, call(http2, { body: Buffer.concat(parts) }))).grpcStatus).toBe(0);
    expect(client.use().overtaken).toBe(2);
  });

  test('of a bidirectional stream that is answered in time overtake nothing', async () => {
    const server = await serveHttp2((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.on('data', () => stream.write(grpcMessage('answer')));
      stream.on('end', () => stream.end());
    });
    const http2 = { parts: [0, 8, 0, 300e6, 8, 1, 600e6, 0, 2] };
    const body = Buffer.concat([grpcMessage('one'), grpcMessage('two')]);
    const client = http2To(server.origin);
    const outcome = await play(client, call(http2, { body }));
    expect(outcome).toMatchObject({ error: null, grpcStatus: 0, bytes: 22 });
    expect(client.use().overtaken).toBe(0);
  });

  test('that are left over after a complete answer are not sent', async () => {
    const closed = Promise.withResolvers<void>();
    const server = await serveHttp2((stream) => {
      stream.resume();
      stream.on('close', closed.resolve);
      trailersOnly(stream, 8);
    });
    const http2 = { parts: [0, 9, 0, 3_600e9, 0, 0] };
    expect((await play(http2To(server.origin), call(http2))).grpcStatus).toBe(8);
    await closed.promise;
  });
});

describe('an answer', () => {
  test.each([0, 14])('of a trailers-only head has its status %i', async (status) => {
    const server = await serveHttp2((stream) => trailersOnly(stream, status));
    expect(await play(http2To(server.origin), call())).toMatchObject({
      error: null,
      grpcStatus: status,
      bytes: 0,
    });
  });

  test('in trailers wins over none in the head, and an answer without one has null', async () => {
    const server = await serveHttp2((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.end(grpcMessage('but no trailers'));
    });
    expect(await play(http2To(server.origin), call())).toMatchObject({ error: null, grpcStatus: null });
  });

  test.each([14, null])(
    'whose head promises OK before its trailers say %s has the status of its trailers',
    async (status) => {
      const server = await serveHttp2((stream) => {
        const head = { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '0' };
        stream.respond(head, { waitForTrailers: true });
        stream.on('wantTrailers', () =>
          stream.sendTrailers(status === null ? {} : { 'grpc-status': `${status}` }),
        );
        stream.end(grpcMessage('answer'));
      });
      expect(await play(http2To(server.origin), call())).toMatchObject({ error: null, grpcStatus: status });
    },
  );

  const half = (stream: number) =>
    Buffer.concat([
      frame(FRAME_TYPE.headers, FRAME_FLAG.endHeaders, stream, STATUS_200),
      frame(FRAME_TYPE.data, 0, stream, grpcMessage('half')),
    ]);
  const reset = (stream: number, code: number) => frame(FRAME_TYPE.reset, 0, stream, uint32(code));
  const goaway = (last: number, code: number) =>
    frame(FRAME_TYPE.goAway, 0, 0, Buffer.concat([uint32(last), uint32(code)]));
  test.each<[string, (stream: number, socket: Socket) => Buffer | Socket, string]>([
    ['reset half-way', (stream) => Buffer.concat([half(stream), reset(stream, 2)]), 'reset'],
    [
      'reset half-way as if it were no error',
      (stream) => Buffer.concat([half(stream), reset(stream, 0)]),
      'reset',
    ],
    ['cancelled by the target', (stream) => reset(stream, 8), 'reset'],
    ['refused', (stream) => reset(stream, 7), 'refused_stream'],
    ['reset for a protocol error', (stream) => reset(stream, 1), 'protocol'],
    ['excluded by a GOAWAY', () => goaway(0, 0), 'goaway'],
    ['part of a connection that ends with an error', (stream) => goaway(stream, 11), 'goaway'],
    ['cut off by the end of its connection', (stream, socket) => socket.end(half(stream)), 'closed_early'],
    ['cut off by a reset of its connection', (_stream, socket) => socket.resetAndDestroy(), 'reset'],
    ['no HTTP/2', () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), 'protocol'],
    [
      'a head that cannot be decoded',
      (stream) => frame(FRAME_TYPE.headers, 4, stream, Buffer.alloc(6, 255)),
      'protocol',
    ],
  ])('that is %s fails with its own reason', async (_name, respond, error) => {
    const origin = await serveFrames(respond);
    expect((await play(http2To(origin), call())).error).toBe(error);
  });

  test('is not awaited after an abort, whose stream is cancelled and whose connection stays', async () => {
    const rst = Promise.withResolvers<number>();
    const server = await serveHttp2((stream, _headers, nth) => {
      stream.on('close', () => rst.resolve(stream.rstCode ?? -1));
      if (nth > 1) answerWhole(stream, {}, nth);
    });
    const client = http2To(server.origin);
    const outcome = await play(client, call(), (handle) => setTimeout(() => handle.abort('deadline'), 50));
    expect(outcome.error).toBe('deadline');
    expect(await rst.promise).toBe(constants.NGHTTP2_CANCEL);
    expect(await play(client, call())).toMatchObject({ error: null, reused: true });
    expect(client.use()).toMatchObject({ opened: 1 });
  });

  test.each([
    ['first_byte_timeout', (stream: ServerHttp2Stream) => stream.resume()],
    [
      'idle_timeout',
      (stream: ServerHttp2Stream) => stream.respond({ ':status': 200, 'content-type': 'application/grpc' }),
    ],
  ])('that stays silent ends with %s', async (error, respond) => {
    const server = await serveHttp2(respond);
    const client = http2To(server.origin, { firstByteTimeoutMs: 150, idleTimeoutMs: 150 });
    expect((await play(client, call())).error).toBe(error);
  });
});

describe('a target', () => {
  test('that speaks HTTP/1.1 is a protocol error', async () => {
    const server = await serve();
    expect((await play(http2To(server.origin), call())).error).toBe('protocol');
  });

  test('that never sends its settings is a connect time-out', async () => {
    const server = await serve(() => undefined);
    const client = http2To(server.origin, { connectTimeoutMs: 150 });
    expect((await play(client, call())).error).toBe('connect_timeout');
    expect(client.use()).toMatchObject({ opened: 0, failed: 1 });
  });

  test('that listens no more refuses', async () => {
    const server = await serve();
    await server.close();
    expect((await play(http2To(server.origin), call())).error).toBe('connect_refused');
  });

  test('with TLS but without ALPN h2 fails to connect', async () => {
    const server = createTlsServer({ ...TLS, ALPNProtocols: ['http/1.1'] }, (socket) => {
      socket.on('error', () => undefined);
    }).on('tlsClientError', () => undefined);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    afterwards(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const client = http2To(`https://localhost:${port}`, { caPem: TLS.cert }, ['127.0.0.1']);
    expect((await play(client, call())).error).toBe('connect_failed');
    expect(client.use()).toMatchObject({ opened: 0, failed: 1 });
  });
});

test('a target that allows no stream refuses each call, once', async () => {
  const server = await serveHttp2(answerWhole, { settings: { maxConcurrentStreams: 0 } });
  const client = http2To(server.origin);
  const outcomes = await Promise.all([0, 1, 2].map((at) => play(client, call({}, {}, at))));
  expect(outcomes.map(({ error }) => error)).toEqual(Array(3).fill('refused_stream'));
  expect(client.use().opened).toBeLessThanOrEqual(6);
});

describe('connections', () => {
  const slow: Respond = (stream) => {
    stream.resume();
    stream.on('end', () => void sleep(120).then(() => answer(stream, grpcMessage('late'))));
  };
  const together = (client: ReturnType<typeof http2To>, calls: readonly PreparedRequest[]) =>
    Promise.all(calls.map((each) => play(client, each)));

  test('are shared by all calls that may share one', async () => {
    const server = await serveHttp2(slow);
    const client = http2To(server.origin);
    const outcomes = await together(
      client,
      Array.from({ length: 50 }, (_, at) => call({}, {}, at)),
    );
    expect(outcomes.every(({ grpcStatus }) => grpcStatus === 0)).toBe(true);
    expect(client.use()).toMatchObject({ opened: 1, openedAtLimit: 0, used: 1 });
  });

  test.each([true, false])('never carry more streams than the target allows (warm: %s)', async (isWarm) => {
    const open = new Map<unknown, number>();
    let most = 0;
    const server = await serveHttp2(
      (stream) => {
        const { session } = stream;
        const count = (open.get(session) ?? 0) + 1;
        open.set(session, count);
        most = Math.max(most, count);
        stream.on('close', () => open.set(session, (open.get(session) ?? 0) - 1));
        slow(stream, {}, 0);
      },
      { settings: { maxConcurrentStreams: 10 } },
    );
    const client = http2To(server.origin);
    if (isWarm) await client.warm(1);
    const outcomes = await together(
      client,
      Array.from({ length: 35 }, (_, at) => call({}, {}, at)),
    );
    expect(outcomes.every(({ grpcStatus }) => grpcStatus === 0)).toBe(true);
    expect(most).toBe(10);
    expect(client.use()).toMatchObject({ opened: 4, openedAtLimit: 3, failed: 0 });
    // The next burst needs no more.
    await together(
      client,
      Array.from({ length: 35 }, (_, at) => call({}, {}, at)),
    );
    expect(client.use()).toMatchObject({ opened: 4 });
  });

  test('are one for each address', async () => {
    const server = await serveHttp2();
    const client = http2To(server.origin.replace('127.0.0.1', 'localhost'), {}, [
      '127.0.0.1',
      '::ffff:127.0.0.1',
    ]);
    await client.warm(1);
    await together(client, [call(), call()]);
    expect(client.use()).toMatchObject({ opened: 2, used: 2 });
  });

  test('that were recorded are told apart, and one that was opened before the start is taken over', async () => {
    const server = await serveHttp2(slow);
    const client = http2To(server.origin);
    await client.warm(1);
    const calls = [7, 7, 8, 7, 9].map((connection, at) =>
      call({ connection }, { path: `/${connection}` }, at),
    );
    await together(client, calls);
    const sessionsOf = (path: string) =>
      new Set(server.seen.filter(({ headers }) => headers[':path'] === path).map(({ session }) => session));
    expect(['/7', '/8', '/9'].map((path) => sessionsOf(path).size)).toEqual([1, 1, 1]);
    expect(client.use()).toMatchObject({ opened: 3, openedAtLimit: 0 });
  });

  test('that get a GOAWAY serve what they have, and the next call gets another', async () => {
    const server = await serveHttp2((stream, headers, nth) => {
      if (nth === 1) stream.session?.close();
      slow(stream, headers, nth);
    });
    const client = http2To(server.origin);
    const first = hearing();
    client.send(call(), first.listener);
    await sleep(60);
    expect((await play(client, call())).grpcStatus).toBe(0);
    expect((await first.outcome).grpcStatus).toBe(0);
    expect(client.use()).toMatchObject({ opened: 2, openedAtLimit: 0 });
  });

  test('that grew too old are replaced', async () => {
    const server = await serveHttp2();
    const client = http2To(server.origin, { maxConnectionAgeMs: 50 });
    await play(client, call());
    await sleep(120);
    expect(await play(client, call())).toMatchObject({ error: null, reused: false });
    expect(client.use()).toMatchObject({ opened: 2 });
  });
});
