import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { SendError } from '../../src/core/run.ts';
import { AddressBook } from '../../src/replay/address-book.ts';
import { ConnectionPool, type PoolOptions } from '../../src/replay/connection-pool.ts';
import { BatchReader, type OutgoingRequest, packBatch } from '../../src/replay/send-batch.ts';
import { type SendEvents, type SendHandle, UndiciTransport } from '../../src/replay/transport.ts';
import { prepared } from '../support/prepared.ts';
import { answer, type RawRequest, RawServer, type Respond } from '../support/raw-server.ts';

const cleanUps: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function serve(respond?: Respond): Promise<RawServer> {
  const server = await RawServer.start(respond);
  cleanUps.push(() => server.close());
  return server;
}

function transportTo(
  origin: string,
  options: Partial<PoolOptions> = {},
  addresses?: readonly string[],
): UndiciTransport {
  const resolve = async (): Promise<readonly string[]> => addresses ?? [];
  const book = new AddressBook(new URL(origin).hostname, resolve, systemClock);
  const pool = new ConnectionPool(
    {
      origin,
      connectTimeoutMs: 2_000,
      firstByteTimeoutMs: 5_000,
      idleTimeoutMs: 5_000,
      maxConnectionAgeMs: null,
      caPem: null,
      acceptAnyCertificate: false,
      ...options,
    },
    book,
    systemClock,
  );
  const transport = new UndiciTransport(pool);
  cleanUps.push(() => transport.close());
  return transport;
}

function outgoing(parts: Parameters<typeof prepared>[2] = {}, index = 0): OutgoingRequest {
  return new BatchReader(packBatch([prepared(index, 0, parts)])).read();
}

interface Outcome {
  readonly events: readonly string[];
  readonly status: number | null;
  readonly bytes: number;
  readonly error: SendError | null;
  readonly reused: boolean;
}

/** Sends one request and waits for its end. */
function play(
  transport: UndiciTransport,
  request: OutgoingRequest,
  onHandle?: (handle: SendHandle) => void,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const events: string[] = [];
    let status: number | null = null;
    let bytes = 0;
    let reused = false;
    const over = (error: SendError | null): void => resolve({ events, status, bytes, error, reused });
    const listener: SendEvents = {
      onStart: (reusedConnection) => {
        events.push('start');
        reused = reusedConnection;
      },
      onFirstByte: () => events.push('first byte'),
      onStatus: (got) => {
        events.push('status');
        status = got;
      },
      onData: (got) => {
        bytes += got;
      },
      onEnd: () => {
        events.push('end');
        over(null);
      },
      onError: (error) => {
        events.push('error');
        over(error);
      },
    };
    const handle = transport.send(request, listener);
    onHandle?.(handle);
  });
}

/** Header pairs of a request as it was on the wire, less those the client writes itself. */
function sentPairs({ headers }: RawRequest): string[] {
  const own = new Set(['host', 'connection', 'content-length', 'transfer-encoding']);
  return headers.filter(([name]) => !own.has(name.toLowerCase())).flat();
}

describe('what goes over the wire', () => {
  test('is the request as prepared: method, target, header order, case and duplicates, body', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    const headers = [
      'X-b',
      '2',
      'x-A',
      '',
      'X-B',
      '1',
      'Accept',
      '*/*',
      'accept',
      'text/html',
      'X-Latin',
      'caf\u00e9',
    ];
    await play(
      transport,
      outgoing({ path: '/v2/models/m%20x/infer?a=1&&b', headers, body: Buffer.from([0, 255, 13, 10]) }),
    );
    const [request] = server.requests as [RawRequest];
    expect(request.method).toBe('POST');
    expect(request.target).toBe('/v2/models/m%20x/infer?a=1&&b');
    expect(sentPairs(request)).toEqual(headers);
    expect([...request.body]).toEqual([0, 255, 13, 10]);
    expect(request.headers.slice(0, 2).map(([name]) => name)).toEqual(['host', 'connection']);
  });

  test('names the target as host, or the host that was asked for', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    await play(transport, outgoing());
    await play(transport, outgoing({ headers: ['Host', 'models.production:8000'] }));
    expect(server.requests.map(({ headers }) => headers[0])).toEqual([
      ['host', `127.0.0.1:${server.port}`],
      ['host', 'models.production:8000'],
    ]);
  });

  test('is any body, byte for byte, with a length or chunked as it was recorded', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    const body = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 2_000 }),
      fc.integer({ min: 60_000, max: 400_000 }).map((bytes) => Buffer.alloc(bytes, 'abc')),
    );
    await fc.assert(
      fc.asyncProperty(body, fc.boolean(), async (bytes, chunked) => {
        const { error } = await play(transport, outgoing({ body: bytes, chunked }));
        expect(error).toBeNull();
        const request = server.requests.at(-1);
        expect(request?.chunked).toBe(chunked);
        expect(request?.body.equals(bytes)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test.each([
    ['GET', null],
    ['GET', 'a body nobody expects'],
    ['HEAD', null],
    ['DELETE', null],
    ['DELETE', 'body'],
    ['OPTIONS', null],
    ['POST', null],
    ['PURGE', 'custom'],
  ])('is %s with body %s, and the connection stays in use', async (method, body) => {
    const server = await serve((request, socket) => {
      const bytes = answer('', '200 OK', ['connection: keep-alive']);
      socket.write(request.method === 'HEAD' ? bytes.subarray(0, bytes.length) : bytes);
    });
    const transport = transportTo(server.origin);
    const request = { method, body: body === null ? null : Buffer.from(body) };
    expect((await play(transport, outgoing(request))).error).toBeNull();
    expect(await play(transport, outgoing(request))).toMatchObject({
      error: null,
      status: 200,
      reused: true,
    });
    expect(server.requests.map((got) => [got.method, got.body.toString()])).toEqual([
      [method, body ?? ''],
      [method, body ?? ''],
    ]);
    expect(server.connections).toBe(1);
  });
});

describe('an answer', () => {
  test('is told as it comes: start, first byte, status, end', async () => {
    const server = await serve();
    const outcome = await play(transportTo(server.origin), outgoing());
    expect(outcome).toEqual({
      events: ['start', 'first byte', 'status', 'end'],
      status: 200,
      bytes: 2,
      error: null,
      reused: false,
    });
  });

  test.each([
    ['204 without a body', 'HTTP/1.1 204 No Content\r\n\r\n', 204, 0],
    ['304 with a content-length', 'HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n', 304, 0],
    [
      'chunked',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n',
      200,
      5,
    ],
    ['an error of the server', 'HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy', 503, 4],
    [
      'interim answers first',
      'HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx',
      200,
      1,
    ],
  ])('may be %s', async (_title, bytes, status, bodyBytes) => {
    const server = await serve((_request, socket) => socket.write(bytes));
    const outcome = await play(transportTo(server.origin), outgoing());
    expect(outcome).toMatchObject({ status, bytes: bodyBytes, error: null });
  });

  test('may end with the connection', async () => {
    const server = await serve((_request, socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nall of it'));
    expect(await play(transportTo(server.origin), outgoing())).toMatchObject({
      status: 200,
      bytes: 9,
      error: null,
    });
  });

  test('is read to its end though nobody looks at it', async () => {
    const server = await serve((_request, socket) => socket.write(answer(Buffer.alloc(3_000_000))));
    expect(await play(transportTo(server.origin), outgoing())).toMatchObject({
      bytes: 3_000_000,
      error: null,
    });
  });
});

describe('a request that fails', () => {
  test.each<[SendError, string, Respond]>([
    ['closed_early', 'no answer and a close', (_request, socket) => socket.end()],
    ['reset', 'no answer and a reset', (_request, socket) => socket.resetAndDestroy()],
    [
      'closed_early',
      'a body cut short',
      (_r, socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'),
    ],
    [
      'closed_early',
      'a chunked body cut short',
      (_r, socket) => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab'),
    ],
    [
      'closed_early',
      'a last chunked body cut short',
      (_r, socket) =>
        socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab'),
    ],
    [
      'protocol',
      'a broken chunk',
      (_r, socket) => socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'),
    ],
    ['protocol', 'no HTTP at all', (_request, socket) => socket.write('SSH-2.0-OpenSSH_9.7\r\n')],
    [
      'protocol',
      'a head beyond all bounds',
      (_r, socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(300_000)}\r\n`),
    ],
    [
      'protocol',
      'an upgrade nobody asked for',
      (_r, socket) => socket.write('HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
    ],
  ])('is %s for %s', async (error, _title, respond) => {
    const server = await serve(respond);
    expect((await play(transportTo(server.origin), outgoing())).error).toBe(error);
  });

  test('is a reset in the middle of a body when it is one', async () => {
    const server = await serve((_request, socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nsome', () =>
        setTimeout(() => socket.resetAndDestroy(), 20),
      );
    });
    const outcome = await play(transportTo(server.origin), outgoing());
    expect(outcome).toMatchObject({ error: 'reset', status: 200, bytes: 4 });
  });

  test('is reset_on_reuse when the connection had answered before and ends without a byte', async () => {
    const server = await serve(({ nth }, socket) => {
      if (nth === 0) socket.write(answer());
      else socket.resetAndDestroy();
    });
    const transport = transportTo(server.origin);
    expect((await play(transport, outgoing())).error).toBeNull();
    expect(await play(transport, outgoing())).toMatchObject({ error: 'reset_on_reuse', reused: true });
    expect((await play(transport, outgoing())).error).toBeNull();
    expect(server.connections).toBe(2);
  });

  test('is connect_refused where nobody listens', async () => {
    const server = await RawServer.start();
    const { origin } = server;
    await server.close();
    const outcome = await play(transportTo(origin), outgoing());
    expect(outcome).toEqual({
      events: ['error'],
      status: null,
      bytes: 0,
      error: 'connect_refused',
      reused: false,
    });
  });

  test('is connect_failed for a name that does not resolve', async () => {
    const outcome = await play(transportTo('http://no-such-host.invalid:80'), outgoing());
    expect(outcome.error).toBe('connect_failed');
  });

  test('is first_byte_timeout or idle_timeout when the target falls silent', async () => {
    const silent = await serve(() => undefined);
    const halfway = await serve((_r, socket) =>
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'),
    );
    const bounds = { firstByteTimeoutMs: 100, idleTimeoutMs: 100 };
    expect((await play(transportTo(silent.origin, bounds), outgoing())).error).toBe('first_byte_timeout');
    expect((await play(transportTo(halfway.origin, bounds), outgoing())).error).toBe('idle_timeout');
  });

  test('is what it was aborted for, connected or not, and its connection is not used again', async () => {
    const server = await serve(() => undefined);
    const transport = transportTo(server.origin);
    const early = await play(transport, outgoing(), (handle) => handle.abort('stopped'));
    expect(early).toMatchObject({ error: 'stopped', events: ['error'] });
    const late = await play(transport, outgoing(), (handle) =>
      setTimeout(() => handle.abort('total_timeout'), 50),
    );
    expect(late).toMatchObject({ error: 'total_timeout', events: ['start', 'error'] });
  });
});

describe('connections', () => {
  test('are as many as there are requests at once, then used again, the youngest first', async () => {
    const waiting: (() => void)[] = [];
    const server = await serve((_request, socket) => {
      waiting.push(() => socket.write(answer()));
      if (waiting.length === 5) for (const go of waiting.splice(0)) go();
    });
    const transport = transportTo(server.origin);
    const five = (): Promise<Outcome[]> =>
      Promise.all(Array.from({ length: 5 }, () => play(transport, outgoing())));
    await five();
    const again = await five();
    expect(again.every(({ reused }) => reused)).toBe(true);
    expect(server.connections).toBe(5);
    expect(transport.use()).toMatchObject({
      opened: 5,
      openMax: 5,
      failed: 0,
      requestsPerConnection: { mean: 2, max: 2 },
    });
  });

  test('opened to warm up carry the first requests, and nothing is sent on them before', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    await transport.warm(3);
    await expect.poll(() => server.connections).toBe(3);
    expect(server.received(0).length).toBe(0);
    const first = await Promise.all(Array.from({ length: 3 }, () => play(transport, outgoing())));
    expect(first.every(({ error, reused }) => error === null && !reused)).toBe(true);
    expect(server.connections).toBe(3);
  });

  test('that the target closed while idle are not used again', async () => {
    const server = await serve((_request, socket) => socket.end(answer()));
    const transport = transportTo(server.origin);
    for (let i = 0; i < 3; i++) {
      expect((await play(transport, outgoing())).error).toBeNull();
      // Time for the close to be heard; a request in the very same moment is a race nobody can win.
      await delay(20);
    }
    expect(server.connections).toBe(3);
  });

  test('that are idle for a second and a half are given up', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    await play(transport, outgoing());
    await transport.warm(1);
    await expect.poll(() => server.openConnections, { timeout: 5_000 }).toBe(0);
  });

  test('older than their limit are given up, so that new replicas get traffic', async () => {
    const server = await serve();
    const transport = transportTo(server.origin, { maxConnectionAgeMs: 0 });
    await play(transport, outgoing());
    expect((await play(transport, outgoing())).reused).toBe(false);
    expect(server.connections).toBe(2);
  });

  test('go to every address of the name in turn, except where nobody listens', async () => {
    const server = await serve();
    const second = createServer((socket) =>
      socket.on('data', () => socket.write(answer())).on('error', () => socket.destroy()),
    );
    second.listen(server.port, '127.0.0.2');
    await once(second, 'listening');
    cleanUps.push(async () => {
      second.close();
    });
    const origin = `http://models.invalid:${server.port}`;
    const transport = transportTo(origin, {}, ['127.0.0.1', '127.0.0.2', '127.0.0.3']);
    await transport.warm(2);
    await Promise.all(Array.from({ length: 8 }, () => play(transport, outgoing())));
    const use = transport.use();
    expect(use.failed).toBe(1);
    expect(use.byAddress.map(({ address, requests }) => [address, requests]).sort()).toEqual([
      ['127.0.0.1', 4],
      ['127.0.0.2', 4],
    ]);
  });
});
