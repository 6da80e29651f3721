import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { type GatewayUnderTest, rawUpstream, startGateway, startTimedGateway, until } from './support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: m\r\n\r\n';
/** Small enough to come in one piece: the gateway has all of it before the client has any. */
const PIECE_BYTES = 50_000;
/** More than kernels hold for a client that does not read. */
const PLENTY_BYTES = 20_000_000;

/** An upstream that answers each request with so many bytes at once. */
async function answering(bytes: number) {
  let asked = 0;
  const answer = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n${'x'.repeat(bytes)}`);
  const port = await rawUpstream((socket) => {
    socket.on('data', () => {
      asked += 1;
      socket.write(answer);
    });
  });
  return { port, asked: () => asked };
}

async function connected(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' }).pause();
  socket.on('error', () => undefined);
  afterwards(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** A client that reads none of its answers asks until one is not taken off the gateway's hands any more. */
async function askUntilItStands({ port, gateway }: GatewayUnderTest, asked: () => number): Promise<void> {
  const socket = await connected(port);
  const cut = () => gateway.connections.open === 0;
  const taken = () => gateway.counts.inFlight === 0;
  for (let nth = 1; nth * PIECE_BYTES < PLENTY_BYTES; nth += 1) {
    socket.write(GET);
    await until(() => asked() === nth || cut());
    // A second in which this process ran: time in which it did not has no looks.
    for (let looks = 0; looks < 50 && !taken(); looks += 1) await sleep(20);
    if (!taken() || cut()) return;
  }
  throw new Error('the kernel took all of it');
}

describe('a client that does not read an answer which its target has finished', () => {
  it.each([['idle', { idleMs: 300 }] as const, ['total', { totalMs: 300 }] as const])(
    'is not waited for beyond the %s time limit, and gives its place back',
    async (_which, timeouts) => {
      const upstream = await answering(PIECE_BYTES);
      const gateway = await startTimedGateway(upstream.port, { timeouts });
      await askUntilItStands(gateway, upstream.asked);
      gateway.pass(301);
      await until(() => gateway.gateway.connections.open === 0);
      expect(gateway.gateway.counts.inFlight).toBe(0);
      expect(gateway.gateway.connections.failed).toEqual({});
      expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
    },
  );

  it('is waited for as long as it goes on reading', async () => {
    const { port } = await answering(PLENTY_BYTES);
    const gateway = await startGateway(port, { timeouts: { idleMs: 2_000 } });
    const client = await connected(gateway.port);
    let bytes = 0;
    client.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    client.write(GET);
    // Longer in all than the limit, and each pause far from it.
    while (bytes < PLENTY_BYTES && !client.destroyed) {
      client.resume();
      await sleep(5);
      client.pause();
      await sleep(100);
    }
    expect(bytes).toBeGreaterThan(PLENTY_BYTES);
  });
});
