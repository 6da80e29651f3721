import { Agent } from 'node:http';
import { describe, expect, it, vi } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { answer, RawServer } from '../../support/raw-server.ts';
import { ask, RawClient, rawUpstream, startGateway, startTimedGateway, until } from './support.ts';

async function server(respond?: Parameters<typeof RawServer.start>[0]): Promise<RawServer> {
  const raw = await RawServer.start(respond);
  afterwards(() => raw.close());
  return raw;
}

const CRLF = '\r\n';
function request(line: string, headers: readonly string[] = [], body = ''): string {
  return [`${line} HTTP/1.1`, 'Host: model.example', ...headers, '', body].join(CRLF);
}

describe('the gateway', () => {
  it('hands on a request as it came and its answer as it was given, and records both', async () => {
    const upstream = await server((_, socket) => {
      socket.write(
        answer('{"ok":1}', '200 Fine', [
          'X-A: 1',
          'x-a: 2',
          'Date: then',
          'Set-Cookie: a',
          'X-B: q',
          'set-cookie: b',
        ]),
      );
    });
    const gateway = await startGateway(upstream.port);
    const client = await RawClient.connect(gateway.port);
    const headers = ['x-ONE: 1', 'Cookie: a=1', 'X-Two:  2 ', 'X-one: 3', 'Cookie: b=2', 'Content-Length: 4'];
    client.send(request('POST /v1//x?q=%41&b=a+b', headers, 'body'));
    const got = await client.read(/\{"ok":1\}/);
    expect(got).toBe(
      'HTTP/1.1 200 Fine\r\nX-A: 1\r\nx-a: 2\r\nDate: then\r\nSet-Cookie: a\r\nX-B: q\r\nset-cookie: b\r\n' +
        'content-length: 8\r\nConnection: keep-alive\r\nKeep-Alive: timeout=75\r\n\r\n{"ok":1}',
    );
    expect(upstream.requests[0]?.head.toString('latin1')).toBe(
      'POST /v1//x?q=%41&b=a+b HTTP/1.1\r\nHost: model.example\r\nx-ONE: 1\r\nCookie: a=1\r\nX-Two: 2\r\n' +
        'X-one: 3\r\nCookie: b=2\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\n',
    );
    client.socket.destroy();
    const reading = await gateway.settle();
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading.lost).toEqual({});
    expect(gateway.sink.exchanges).toHaveLength(1);
    expect(gateway.sink.exchanges[0]).toMatchObject({ outcome: 'completed', status: 200, method: 'POST' });
  });

  it('serves many requests on one client connection over one upstream connection, and names it in each row', async () => {
    const upstream = await server();
    const gateway = await startGateway(upstream.port);
    const client = await RawClient.connect(gateway.port);
    for (let turn = 0; turn < 5; turn += 1) {
      client.send(request(`GET /${turn}`));
      await client.read(/\r\n\r\nok/);
    }
    expect(upstream.connections).toBe(1);
    await gateway.settle();
    const rows = new Set(gateway.sink.exchanges.map(({ connection }) => connection));
    expect([gateway.sink.exchanges.length, rows.size]).toEqual([5, 1]);
  });

  it('lets Node copy no option of a request that is of no use to it', async () => {
    const upstream = await server();
    const { port } = await startGateway(upstream.port);
    const asked = vi.spyOn(
      Agent.prototype as unknown as { addRequest(...of: unknown[]): void },
      'addRequest',
    );
    afterwards(() => asked.mockRestore());
    await ask(port, request('GET /'));
    const [[, options]] = asked.mock.calls as [[unknown, object]];
    expect({ ...options }).toStrictEqual({
      host: '127.0.0.1',
      port: upstream.port,
      socketPath: undefined,
      method: 'GET',
      agent: expect.any(Agent),
      setHost: false,
      maxHeaderSize: 64 * 1024,
    });
  });

  it('answers 502 when nobody listens, and records that the upstream failed', async () => {
    const upstream = await server();
    const { port } = upstream;
    await upstream.close();
    const gateway = await startGateway(port);
    expect(await ask(gateway.port, request('GET /'))).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    const reading = await gateway.settle();
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(gateway.sink.exchanges[0]).toMatchObject({ outcome: 'upstream_failed', status: null });
  });

  it('passes chunked bodies and trailers on in both directions', async () => {
    let received = '';
    const port = await rawUpstream((socket) => {
      socket.on('data', (chunk) => {
        received += chunk.toString('latin1');
        if (!received.endsWith('0\r\nX-Sum: 9\r\n\r\n')) return;
        socket.write(
          'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n',
        );
      });
    });
    const gateway = await startGateway(port);
    const client = await RawClient.connect(gateway.port);
    const chunks = '4\r\nwxyz\r\n0\r\nX-Sum: 9\r\n\r\n';
    client.send(
      request('DELETE /a', ['Transfer-Encoding: chunked', 'Trailer: X-Sum', 'TE: trailers'], chunks),
    );
    const got = await client.read(/0\r\nX-T: 1\r\n\r\n$/);
    expect(got).toMatch(
      /Transfer-Encoding: chunked\r\nTrailer: X-T\r\n[\s\S]*\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n$/,
    );
    expect(received).toContain('Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n');
    expect(received).toMatch(/\r\n\r\n4\r\nwxyz\r\n0\r\nX-Sum: 9\r\n\r\n$/);
    await gateway.settle();
    const [exchange] = gateway.sink.exchanges;
    expect(Buffer.from(exchange?.request?.trailers ?? []).toString()).toBe('X-Sum: 9\r\n');
    expect(exchange?.request?.body.bytes).toBe(4);
    expect(Buffer.from(exchange?.response?.trailers ?? []).toString()).toBe('X-T: 1\r\n');
  });

  it('passes the bytes of heads on as they are, also of heads that go ahead of their bodies', async () => {
    let received = '';
    const headSeen = Promise.withResolvers<void>();
    const port = await rawUpstream((socket) => {
      socket.on('data', async (chunk) => {
        received += chunk.toString('latin1');
        if (!received.endsWith('late')) return;
        socket.write('HTTP/1.1 200 OK\r\nX-A: caf\xe9\xff\r\nContent-Length: 4\r\n\r\n', 'latin1');
        await headSeen.promise;
        socket.write('late');
      });
    });
    const gateway = await startGateway(port);
    const client = await RawClient.connect(gateway.port);
    client.send(request('POST /', ['X-B: \xe9\xfe', 'Content-Length: 4']));
    // The head does not wait for the body.
    await until(() => received.includes('X-B: \xe9\xfe\r\n'));
    client.send('late');
    await client.read(/X-A: caf\xe9\xff\r\n/);
    expect(client.received).not.toMatch(/late$/);
    headSeen.resolve();
    await client.read(/late$/);
  });

  it('tells the upstream that a client left, before and in the middle of an answer', async () => {
    for (const beginning of ['', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun']) {
      let closed = false;
      let asked = false;
      const port = await rawUpstream((socket) => {
        socket.on('data', () => {
          asked = true;
          socket.write(beginning);
        });
        socket.on('close', () => {
          closed = true;
        });
      });
      // No limit of time runs out where no time passes: only that the client leaves can end anything.
      const gateway = await startTimedGateway(port);
      const client = await RawClient.connect(gateway.port);
      client.send(request('POST /', ['Content-Length: 0']));
      await until(() => asked);
      if (beginning !== '') await client.read(/begun$/);
      expect(closed).toBe(false);
      client.socket.destroy();
      await until(() => closed);
      await gateway.settle();
      expect(gateway.sink.exchanges[0]?.outcome).toBe('client_aborted');
    }
  });

  it('lets a truncated answer look truncated', async () => {
    const answers = [
      'Content-Length: 100\r\n\r\nten bytes!',
      'Transfer-Encoding: chunked\r\n\r\na\r\nten bytes!\r\n',
    ];
    for (const text of answers) {
      const port = await rawUpstream((socket) => {
        socket.on('data', () => {
          socket.write(`HTTP/1.1 200 OK\r\n${text}`);
          setTimeout(() => socket.destroy(), 20);
        });
      });
      const gateway = await startGateway(port);
      const client = await RawClient.connect(gateway.port);
      client.send(request('GET /'));
      await client.closed;
      expect(client.received).toMatch(/ten bytes!(\r\n)?$/);
      await gateway.settle();
      expect(gateway.sink.exchanges[0]?.outcome).toBe('upstream_failed');
    }
  });
});
