import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { answer, type RawRequest } from '../../support/raw-server.ts';
import { outgoing, play, serve, transportTo } from '../../support/transport-stage.ts';

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
  test('is told as it comes: start, body written, first byte, status, end', async () => {
    const server = await serve();
    const outcome = await play(transportTo(server.origin), outgoing());
    expect(outcome).toEqual({
      events: ['start', 'body written', 'first byte', 'status', 'end'],
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
