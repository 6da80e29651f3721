import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { afterwards } from '../../support/leftovers.ts';
import { mountedSecret } from '../../support/mounted-secret.ts';
import { RawServer } from '../../support/raw-server.ts';
import { type GatewayUnderTest, RawClient, startGateway, tcp } from './support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: m\r\n\r\n';
const HEADERS_MS = 100;

async function behind(keepAliveMs: number, tls = false): Promise<GatewayUnderTest> {
  const upstream = await RawServer.start();
  afterwards(() => upstream.close());
  return await startGateway(0, {
    pairs: [{ listen: { ...tcp(0), tls }, target: tcp(upstream.port) }],
    tls: tls ? mountedSecret() : null,
    timeouts: { headersMs: HEADERS_MS, keepAliveMs },
  });
}

/** Waits until a client that has begun a head is told that it was too slow; whoever came before was looked at, too. */
async function untilTooSlow({ port }: GatewayUnderTest, begin: (port: number) => Promise<Socket>) {
  const slow = await begin(port);
  slow.resume().write('GET');
  await once(slow, 'close');
}

async function plain(port: number): Promise<Socket> {
  return (await RawClient.connect(port)).socket;
}

async function secure(port: number): Promise<Socket> {
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
  afterwards(() => socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

describe('a connection that was opened ahead of its first request', () => {
  it.each([
    ['plainly', false, plain],
    ['under TLS', true, secure],
  ] as const)('%s, is served after more time than a head may take', async (_, tls, begin) => {
    const gateway = await behind(60_000, tls);
    const ahead = await begin(gateway.port);
    await untilTooSlow(gateway, begin);
    ahead.write(GET);
    const [answer] = await once(ahead, 'data');
    expect(String(answer)).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('has the time for a head from its first byte, and no more', async () => {
    const gateway = await behind(60_000);
    const ahead = await RawClient.connect(gateway.port);
    await untilTooSlow(gateway, plain);
    await ahead.send('GET / HTTP/1.1\r\nHost').closed;
    expect(ahead.received).toMatch(/^HTTP\/1\.1 408 /);
    expect(gateway.gateway.counts.refused).toEqual({ too_slow: 2 });
  });

  it('is not kept for the blank lines that it says', async () => {
    const gateway = await behind(2 * HEADERS_MS);
    const blank = await RawClient.connect(gateway.port);
    await untilTooSlow(gateway, plain);
    expect(await blank.send('\r\n').closed).toBe('end');
  });

  it('is kept as long as an idle one, and ended without an answer or a count', async () => {
    const gateway = await behind(2 * HEADERS_MS);
    const silent = await RawClient.connect(gateway.port);
    expect(await silent.closed).toBe('end');
    expect(silent.received).toBe('');
    expect(gateway.gateway.counts.refused).toEqual({});
    expect(gateway.gateway.connections.failed).toEqual({});
  });
});
