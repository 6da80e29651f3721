import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/proxy/net/endpoint.ts';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { mountedSecret } from '../../support/mounted-secret.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { type GatewayUnderTest, RawClient, rawUpstream, startGateway, tcp, until } from './support.ts';

const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';
const UPGRADE = 'GET /chat HTTP/1.1\r\nHost: m\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const UNTIL_CLOSE = 'HTTP/1.1 200 OK\r\n\r\nhalf';

/** Sockets that know no reset: asked for one, Node throws. */
const LISTENERS: readonly [name: string, () => { listen: Endpoint; secret: boolean }][] = [
  [
    'a unix socket',
    () => ({ listen: { kind: 'unix', path: `${temporaryDirectory()}/in.sock` }, secret: false }),
  ],
  ['TLS', () => ({ listen: { ...tcp(0), tls: true }, secret: true })],
];

async function behind(target: Endpoint, listener: { listen: Endpoint; secret: boolean }) {
  return await startGateway(0, {
    pairs: [{ listen: listener.listen, target }],
    tls: listener.secret ? mountedSecret() : null,
    websocket: true,
  });
}

async function clientOf(gateway: GatewayUnderTest): Promise<{ socket: Socket; received: () => string }> {
  const [bound] = gateway.bound;
  const where = bound?.kind === 'unix' ? { path: bound.path } : { port: gateway.port, host: '127.0.0.1' };
  const secure = bound?.kind === 'tcp' && bound.tls;
  const socket = secure ? connectTls({ ...where, rejectUnauthorized: false }) : connect(where);
  afterwards(() => socket.destroy());
  let received = '';
  socket
    .on('error', () => undefined)
    .on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
    });
  await once(socket, secure ? 'secureConnect' : 'connect');
  return { socket, received: () => received };
}

describe.each(LISTENERS)('a client behind %s, which cannot be reset,', (_, listener) => {
  it('is closed when the upstream fails in an answer that only a close ends', async () => {
    const port = await rawUpstream((socket) => {
      socket.on('data', () =>
        socket.write(UNTIL_CLOSE, () => setTimeout(() => socket.resetAndDestroy(), 30)),
      );
    });
    const gateway = await behind(tcp(port), listener());
    const client = await clientOf(gateway);
    client.socket.write('GET / HTTP/1.0\r\nHost: m\r\n\r\n');
    await once(client.socket, 'close');
    expect(client.received()).toMatch(/half$/);
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
  });

  it('is closed when the upstream resets its WebSocket', async () => {
    const port = await rawUpstream((socket) => {
      socket.on('data', () => socket.write(SWITCH, () => setTimeout(() => socket.resetAndDestroy(), 30)));
    });
    const gateway = await behind(tcp(port), listener());
    const client = await clientOf(gateway);
    client.socket.write(UPGRADE);
    await once(client.socket, 'close');
    expect(client.received()).toBe(SWITCH);
  });

  it('is cut by the deadline of a drain', async () => {
    const port = await rawUpstream((socket) => socket.resume());
    const gateway = await behind(tcp(port), listener());
    const client = await clientOf(gateway);
    client.socket.write('GET / HTTP/1.1\r\nHost: m\r\n\r\n');
    await until(() => gateway.gateway.counts.inFlight === 1);
    const closed = once(client.socket, 'close');
    expect(await gateway.gateway.drain(50)).toBe(1);
    await closed;
  });
});

describe('an upstream behind a unix socket', () => {
  it('is closed when the client resets its WebSocket', async () => {
    const path = `${temporaryDirectory()}/up.sock`;
    const accepted: Socket[] = [];
    const server = createServer((socket) => {
      accepted.push(socket.on('error', () => undefined));
      socket.on('data', () => socket.write(SWITCH));
    }).listen(path);
    await once(server, 'listening');
    afterwards(() => server.close());
    const gateway = await startGateway(0, {
      pairs: [{ listen: tcp(0), target: { kind: 'unix', path } }],
      websocket: true,
    });
    const client = await RawClient.connect(gateway.port);
    client.send(UPGRADE);
    await client.read(/\r\n\r\n/);
    client.socket.resetAndDestroy();
    await once(accepted[0] as Socket, 'close');
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
  });
});
