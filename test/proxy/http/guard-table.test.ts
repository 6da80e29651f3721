import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { RawServer } from '../../support/raw-server.ts';
import { standstillOf } from '../../support/readings.ts';
import { ask, RawClient, rawUpstream, startGateway, until } from './support.ts';

const HOST = 'Host: m\r\n';

async function counting(): Promise<{
  upstream: RawServer;
  gateway: Awaited<ReturnType<typeof startGateway>>;
}> {
  const upstream = await RawServer.start();
  afterwards(() => upstream.close());
  return { upstream, gateway: await startGateway(upstream.port) };
}

describe('a request that unguarded proxies die of, or send on as two', () => {
  it.each([
    ['an authority that is no address', `GET http://[x/ HTTP/1.1\r\n${HOST}\r\n`, 400, 'target'],
    ['an absolute target', `GET http://a:b/ HTTP/1.1\r\n${HOST}\r\n`, 400, 'target'],
    ['a fragment', `GET /a#b HTTP/1.1\r\n${HOST}\r\n`, 400, 'target'],
    ['a backslash target', `GET /\\[ HTTP/1.1\r\n${HOST}\r\n`, 200, null],
    ['a star that is not for OPTIONS', `GET * HTTP/1.1\r\n${HOST}\r\n`, 400, 'target'],
    ['two hosts', `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`, 400, 'host'],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400, 'host'],
    [
      'a coding before chunked',
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
      501,
      'framing',
    ],
    [
      'chunked in HTTP/1.0',
      `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      400,
      'framing',
    ],
    [
      'a length beside chunks',
      `POST / HTTP/1.1\r\n${HOST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      400,
      'unreadable',
    ],
    [
      'two lengths',
      `POST / HTTP/1.1\r\n${HOST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`,
      400,
      'unreadable',
    ],
    ['a signed length', `POST / HTTP/1.1\r\n${HOST}Content-Length: +3\r\n\r\nabc`, 400, 'unreadable'],
    ['a folded line', `GET / HTTP/1.1\r\n${HOST}A: b\r\n c\r\n\r\n`, 400, 'unreadable'],
    ['a blank before the colon', `GET / HTTP/1.1\r\n${HOST}A : b\r\n\r\n`, 400, 'unreadable'],
    [
      'a coding that only looks like chunked',
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n-5\r\n`,
      501,
      'framing',
    ],
    ['a method that is none', `G(T / HTTP/1.1\r\n${HOST}\r\n`, 400, 'unreadable'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'http2_preface'],
    ['a tunnel', `CONNECT a:80 HTTP/1.1\r\n${HOST}\r\n`, 501, 'connect_method'],
    [
      'an expectation of its own',
      `GET / HTTP/1.1\r\n${HOST}Expect: the unexpected\r\n\r\n`,
      417,
      'expectation',
    ],
    ['a head too large', `GET / HTTP/1.1\r\n${HOST}A: ${'x'.repeat(70_000)}\r\n\r\n`, 431, 'head_too_large'],
    ['a trailer announced and not chunked', `GET / HTTP/1.1\r\n${HOST}Trailer: X-A\r\n\r\n`, 200, null],
    [
      'h2c, served as it is',
      `GET / HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
      200,
      null,
    ],
    [
      'WebSocket that is off, served as it is',
      `GET / HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
      200,
      null,
    ],
  ])('%s', async (_, text, status, reason) => {
    const { upstream, gateway } = await counting();
    expect(await ask(gateway.port, text)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(upstream.requests).toHaveLength(status === 200 ? 1 : 0);
    expect(gateway.gateway.counts.refused).toEqual(reason === null ? {} : { [reason]: 1 });
    expect(gateway.gateway.counts.inFlight).toBe(0);
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
  });

  it.each(['DELETE', 'OPTIONS', 'GET', 'POST', 'PATCH', 'HEAD'])(
    'a chunked %s arrives as one request',
    async (method) => {
      const { upstream, gateway } = await counting();
      const inner = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n`;
      const body = `${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`;
      await ask(gateway.port, `${method} /a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${body}`);
      expect(upstream.requests.map(({ target }) => target)).toEqual(['/a']);
      expect(upstream.requests[0]?.rawBody.toString('latin1')).toBe(body);
    },
  );

  it('answers the requests before the one it refuses, and then ends the connection', async () => {
    const { upstream, gateway } = await counting();
    const client = await RawClient.connect(gateway.port);
    client.send(`GET /1 HTTP/1.1\r\n${HOST}\r\nGET /2 HTTP/1.1\r\n${HOST}\r\nG(T / HTTP/1.1\r\n\r\n`);
    await client.closed;
    expect(client.received.match(/HTTP\/1\.1 \d+/g)).toEqual([
      'HTTP/1.1 200',
      'HTTP/1.1 200',
      'HTTP/1.1 400',
    ]);
    expect(upstream.requests).toHaveLength(2);
  });

  it('tells the upstream of a body that turns out to be none, and answers 400', async () => {
    const { upstream, gateway } = await counting();
    const got = await ask(
      gateway.port,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n-5\r\n`,
    );
    const refusal = 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
    expect([got, upstream.requests.length]).toEqual([refusal, 0]);
    await until(() => upstream.openConnections === 0);
    await gateway.settle();
    expect(gateway.sink.exchanges[0]).toMatchObject({ outcome: 'client_aborted', status: null });
  });

  it('keeps paths to the byte, and the names that Connection must not take away', async () => {
    const { upstream, gateway } = await counting();
    const paths = ['/a//b', '/a\\b', '/a/../b', '/a/%2e%2e/b', '/{id}?q="x"', '/?', '/a?b?c', '//x'];
    for (const path of paths) await ask(gateway.port, `GET ${path} HTTP/1.1\r\n${HOST}\r\n`, 30);
    await ask(
      gateway.port,
      `OPTIONS * HTTP/1.1\r\n${HOST}Connection: authorization, X-Mine\r\nX-Mine: 1\r\nAuthorization: a\r\n\r\n`,
    );
    expect(upstream.requests.map(({ target }) => target)).toEqual([...paths, '*']);
    const last = upstream.requests.at(-1)?.head.toString('latin1') ?? '';
    expect(last).toContain('Authorization: a');
    expect(last).not.toContain('X-Mine');
  });
});

describe('a client that asks first', () => {
  it('gets one 100 and one answer, and the upstream is not asked again', async () => {
    const { upstream, gateway } = await counting();
    const client = await RawClient.connect(gateway.port);
    client.send(`POST / HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n`);
    await client.read(/^HTTP\/1\.1 100 Continue\r\n\r\n/);
    client.send('body');
    expect(await client.read(/\r\n\r\nok/)).toMatch(/^HTTP\/1\.1 200 /);
    expect(upstream.requests[0]?.head.toString()).not.toMatch(/expect/i);
  });
});

describe('a client that resets', () => {
  it.each([
    `CONNECT a:80 HTTP/1.1\r\n${HOST}\r\n`,
    `GET / HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n${HOST}\r\n`,
    `G(T / HTTP/1.1\r\n\r\n`,
  ])('after it was refused is nobody\u2019s error: %s', async (text) => {
    const gateway = await startGateway(1, { websocket: true });
    for (let round = 0; round < 20; round += 1) {
      const client = await RawClient.connect(gateway.port);
      client.send(text);
      await sleep(round % 3);
      client.socket.resetAndDestroy();
    }
    await until(() => gateway.gateway.connections.open === 0);
  });

  it('is told of to the upstream while its upload is held back', async () => {
    const held: Socket[] = [];
    const port = await rawUpstream((socket) => held.push(socket.pause()));
    const gateway = await startGateway(port);
    const socket = connect(gateway.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(`POST / HTTP/1.1\r\n${HOST}Content-Length: 200000000\r\n\r\n`);
    socket.write(Buffer.alloc(50_000_000));
    await standstillOf(() => socket.writableLength);
    socket.resetAndDestroy();
    await until(() => gateway.gateway.counts.inFlight === 0);
    expect(held.map(({ destroyed }) => destroyed)).toEqual([false]);
    held[0]?.resume();
    await until(() => held[0]?.destroyed ?? false);
  });
});
