import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { forwardedHeaders, inspectRequest } from '../../../src/proxy/http/headers.ts';
import { GATEWAY_DEFAULTS } from '../../../src/proxy/http/options.ts';
import { RouteTable } from '../../../src/proxy/http/reverse-proxy.ts';
import {
  LOCAL_CERTIFICATE_PEM as cert,
  LOCAL_CERTIFICATE_KEY_PEM as key,
} from '../../support/certificate.ts';
import { afterwards } from '../../support/leftovers.ts';
import { RawServer } from '../../support/raw-server.ts';
import { ask, rawUpstream, startGateway, tcp } from './support.ts';

const [a, b, c] = [tcp(1), tcp(2), tcp(3)];
const table = new RouteTable(
  [
    { match: 'prefix', path: '/v2', target: a, stripPrefix: false },
    { match: 'prefix', path: '/v2/models/big', target: b, stripPrefix: true },
    { match: 'exact', path: '/v2', target: c, stripPrefix: false },
    { match: 'prefix', path: '/s/', target: c, stripPrefix: true },
  ],
  (endpoint) => endpoint,
);

describe('routes', () => {
  it.each([
    ['/v2/x?y', a, '/v2/x?y'],
    ['/v2', c, '/v2'],
    ['/v2?q', c, '/v2?q'],
    ['/v2/models/big', b, '/'],
    ['/v2/models/big?q', b, '/?q'],
    ['/v2/models/big/infer', b, '/infer'],
    ['/v2/models/bigger', a, '/v2/models/bigger'],
    ['/s/a//b', c, '/a//b'],
  ])('%s', (target, endpoint, requestTarget) => {
    expect(table.find(target)).toEqual({ target: endpoint, requestTarget });
  });

  it.each(['/v22', '/', '*', '/V2', '/%762', '/s'])('no route takes %s', (target) => {
    expect(table.find(target)).toBeNull();
  });

  it('lead requests to their servers, the rest to the target of the pair they came in by', async () => {
    const servers = await Promise.all([RawServer.start(), RawServer.start(), RawServer.start()]);
    for (const server of servers) afterwards(() => server.close());
    const [first, second, routed] = servers as [RawServer, RawServer, RawServer];
    const gateway = await startGateway(first.port, {
      pairs: [first, second].map(({ port }) => ({ listen: tcp(0), target: tcp(port) })),
      routes: [{ match: 'prefix', path: '/llm', target: tcp(routed.port), stripPrefix: true }],
    });
    const ports = gateway.bound.map((endpoint) => (endpoint.kind === 'tcp' ? endpoint.port : 0));
    for (const port of ports) {
      await ask(port, 'GET /llm/v1 HTTP/1.1\r\nHost: m\r\n\r\n');
      await ask(port, 'GET /other HTTP/1.1\r\nHost: m\r\n\r\n');
    }
    expect(servers.map(({ requests }) => requests.map(({ target }) => target))).toEqual([
      ['/other'],
      ['/other'],
      ['/v1', '/v1'],
    ]);
    await gateway.settle();
    // What is recorded is what the client asked for.
    const heads = gateway.sink.exchanges.map(
      ({ request }) =>
        Buffer.from(request?.head ?? [])
          .toString()
          .split(' ')[1],
    );
    expect(heads.sort()).toEqual(['/llm/v1', '/llm/v1', '/other', '/other']);
  });
});

describe('X-Forwarded', () => {
  const spoofed =
    'GET / HTTP/1.1\r\nHost: api\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-HOST: evil\r\nX-Forwarded-Proto: gopher\r\n\r\n';

  it('is left as the client said by default, and replaced where it is asked for', async () => {
    const upstream = await RawServer.start();
    afterwards(() => upstream.close());
    const plain = await startGateway(upstream.port);
    const telling = await startGateway(upstream.port, { forwardedHeaders: true });
    await ask(plain.port, spoofed);
    await ask(telling.port, spoofed);
    const [left, replaced] = upstream.requests.map(({ headers }) =>
      headers.filter(([name]) => /^x-forw/i.test(name)),
    );
    expect(left).toEqual([
      ['X-Forwarded-For', '6.6.6.6'],
      ['x-forwarded-HOST', 'evil'],
      ['X-Forwarded-Proto', 'gopher'],
    ]);
    expect(replaced).toEqual([
      ['X-Forwarded-For', '127.0.0.1'],
      ['X-Forwarded-Proto', 'http'],
      ['X-Forwarded-Host', 'api'],
    ]);
  });
});

describe('Forwarded and X-Real-IP', () => {
  it('pass by default, and are replaced with forwarded-headers', async () => {
    const upstream = await RawServer.start();
    afterwards(() => upstream.close());
    const spoofing =
      'GET / HTTP/1.1\r\nHost: api:8000\r\nForwarded: for=6.6.6.6;proto=gopher\r\nx_real_ip: 6.6.6.6\r\n\r\n';
    for (const forwardedHeaders of [false, true]) {
      const { port } = await startGateway(upstream.port, { forwardedHeaders });
      await ask(port, spoofing);
    }
    const [left, replaced] = upstream.requests.map(({ headers }) =>
      headers.filter(([name]) => /^forwarded$|^x.real.ip$/i.test(name)),
    );
    expect(left).toEqual([
      ['Forwarded', 'for=6.6.6.6;proto=gopher'],
      ['x_real_ip', '6.6.6.6'],
    ]);
    expect(replaced).toEqual([
      ['X-Real-IP', '127.0.0.1'],
      ['Forwarded', 'for=127.0.0.1;host="api:8000";proto=http'],
    ]);
  });

  it.each([
    [{ peer: '2001:db8::1', host: 'api' }, 'for="[2001:db8::1]";host="api";proto=https'],
    [{ peer: '10.0.0.1', host: 'a"b\\c' }, 'for=10.0.0.1;host="a\\"b\\\\c";proto=https'],
    [{ peer: null, host: 'api' }, 'for=unknown;host="api";proto=https'],
  ])('quote what RFC 7239 wants quoted: %j', (from, value) => {
    const look = inspectRequest({
      method: 'GET',
      target: '/',
      httpVersion: '1.1',
      headers: ['Host', from.host],
    });
    const headers = forwardedHeaders(['Host', from.host], look, { ...from, proto: 'https' });
    expect(headers.at(-1)).toBe(value);
  });
});

describe('X-Forwarded, where the gateway says it,', () => {
  it.each([
    [
      'with underscores',
      /\r\n\r\n$/,
      'GET / HTTP/1.1\r\nHost: m\r\nX_Forwarded_For: 6.6.6.6\r\nx-forwarded_PROTO: https\r\n\r\n',
    ],
    [
      'in trailers',
      /X-Sum: 9\r\n\r\n$/,
      'POST / HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\nx_forwarded_host: evil\r\nforwarded: for=6.6.6.6\r\nX-Real-Ip: 6.6.6.6\r\nX-Sum: 9\r\n\r\n',
    ],
  ])('is not said by the client, %s', async (_, whole, request) => {
    let said = '';
    const upstream = await rawUpstream((socket) => {
      socket.on('data', (chunk: Buffer) => {
        said += chunk.toString('latin1');
        if (whole.test(said)) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      });
    });
    const { port } = await startGateway(upstream, { forwardedHeaders: true });
    await ask(port, request);
    expect(said).not.toMatch(/6\.6\.6\.6|evil|https/);
  });

  it('names a client of IPv4 by its own address on a socket for both families', async () => {
    const upstream = await RawServer.start();
    afterwards(() => upstream.close());
    const gateway = await startGateway(0, {
      pairs: [{ listen: { ...tcp(0), host: '::' }, target: tcp(upstream.port) }],
      forwardedHeaders: true,
    });
    await ask(gateway.port, 'GET / HTTP/1.1\r\nHost: m\r\n\r\n');
    expect(upstream.requests[0]?.headers).toContainEqual(['X-Forwarded-For', '127.0.0.1']);
  });
});

describe('other sockets', () => {
  it('TLS on both sides', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'reprise-gateway-tls-'));
    afterwards(() => rmSync(folder, { recursive: true }));
    const [certPath, keyPath] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    writeFileSync(certPath, cert);
    writeFileSync(keyPath, key);
    const upstream = createTlsServer({ key, cert }, (request, response) =>
      response.end(`got ${request.url}`),
    ).listen(0, '127.0.0.1');
    await once(upstream, 'listening');
    afterwards(() => upstream.close());
    const address = upstream.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    const secure = (value: number) => ({ ...tcp(value), tls: true });
    const trusting = { caPath: certPath, serverName: 'localhost', verify: true };
    for (const [upstreamTls, answer] of [
      [trusting, 'got /tls'],
      [{ ...trusting, caPath: null }, ''],
    ] as const) {
      const gateway = await startGateway(port, {
        pairs: [{ listen: secure(0), target: secure(port) }],
        tls: { certPath, keyPath },
        upstreamTls,
      });
      const request = httpsRequest({
        port: gateway.port,
        host: '127.0.0.1',
        path: '/tls',
        rejectUnauthorized: false,
        agent: false,
      });
      request.end();
      const [response] = await once(request, 'response');
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      await once(response, 'end');
      expect([response.statusCode, body]).toEqual([answer === '' ? 502 : 200, answer]);
    }
  });

  it('unix sockets on both sides, and IPv6', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'reprise-gateway-'));
    afterwards(() => rmSync(folder, { recursive: true }));
    const [target, listen] = [join(folder, 'up.sock'), join(folder, 'in.sock')];
    const upstream = createServer((_, response) => response.end('by path')).listen(target);
    await once(upstream, 'listening');
    afterwards(() => upstream.close());
    const gateway = await startGateway(0, {
      ...GATEWAY_DEFAULTS,
      pairs: [
        { listen: { kind: 'unix', path: listen }, target: { kind: 'unix', path: target } },
        { listen: { kind: 'tcp', host: '::1', port: 0, tls: false }, target: { kind: 'unix', path: target } },
      ],
    });
    const sixth = gateway.bound[1];
    for (const where of [
      { socketPath: listen },
      { host: '::1', port: sixth?.kind === 'tcp' ? sixth.port : 0 },
    ]) {
      const { request } = await import('node:http');
      const asked = request({ ...where, agent: false }).end();
      const [response] = await once(asked, 'response');
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      await once(response, 'end');
      expect(Buffer.concat(chunks).toString()).toBe('by path');
    }
  });
});
