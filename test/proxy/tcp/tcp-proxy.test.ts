import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { Counters } from '../../../src/proxy/tap/counters.ts';
import { TcpProxy } from '../../../src/proxy/tcp/tcp-proxy.ts';
import { DEAD_PORT } from '../../support/free-port.ts';
import { imbalance } from '../../support/imbalance.ts';
import { tapSide } from '../../support/tap-side.ts';
import {
  client,
  everything,
  failure,
  local,
  startWire,
  upstreamServer,
  wireOptions,
} from '../../support/wire-stage.ts';

describe('the wire', () => {
  it('passes every byte unchanged both ways, through slow readers on both sides', async () => {
    const request = randomBytes(9_000_000);
    const answer = randomBytes(7_000_000);
    const received = new Promise<Buffer>((resolve) => {
      void upstreamServer(async (socket) => {
        await sleep(50);
        resolve(await everything(socket));
        socket.end(answer);
      }).then(async (port) => {
        const { port: listening } = await startWire({ target: local(port) });
        const socket = await client(listening);
        socket.end(request);
        await sleep(50);
        expect((await everything(socket)).equals(answer)).toBe(true);
      });
    });
    expect((await received).equals(request)).toBe(true);
  });

  it('holds a sender back when the other side does not read, instead of buffering', async () => {
    const port = await upstreamServer((socket) => socket.pause());
    const { port: listening, ledger } = await startWire({ target: local(port) });
    const socket = await client(listening);
    socket.write(Buffer.alloc(64 * 1024 * 1024));
    let before = -1;
    while (before !== ledger.read().seen.bytes) {
      before = ledger.read().seen.bytes;
      await sleep(100);
    }
    // What passed sits in the kernel's socket buffers and one chunk or two of ours.
    expect(before).toBeLessThan(32 * 1024 * 1024);
  });

  it('passes a half-close on and still brings the answer back', async () => {
    const port = await upstreamServer((socket) => {
      socket.on('data', () => undefined);
      socket.on('end', () => socket.end('after the end'));
    });
    const { port: listening } = await startWire({ target: local(port) });
    const socket = await client(listening);
    socket.end('all I have');
    expect((await everything(socket)).toString()).toBe('after the end');
  });

  it('delivers what an upstream said before it closed', async () => {
    const answer = randomBytes(3_000_000);
    const port = await upstreamServer((socket) => void socket.end(answer));
    const { port: listening } = await startWire({ target: local(port) });
    const socket = await client(listening);
    expect((await everything(socket)).equals(answer)).toBe(true);
  });

  it('passes a reset of the client on to the upstream', async () => {
    const upstreamGone = new Promise<NodeJS.ErrnoException>((resolve) => {
      void upstreamServer((socket) => {
        socket.on('data', () => undefined);
        socket.on('error', resolve);
      }).then(async (port) => {
        const { port: listening } = await startWire({ target: local(port) });
        const socket = await client(listening);
        socket.write('half a request');
        await sleep(30);
        socket.resetAndDestroy();
      });
    });
    expect((await upstreamGone).code).toBe('ECONNRESET');
  });

  it('passes a reset of the upstream on to the client', async () => {
    const port = await upstreamServer((socket) => socket.on('data', () => socket.resetAndDestroy()));
    const { port: listening } = await startWire({ target: local(port) });
    const socket = await client(listening);
    const failed = failure(socket);
    socket.write('a request');
    expect((await failed).code).toBe('ECONNRESET');
  });

  it('resets the client when nobody listens at the target', async () => {
    const { port: listening, ledger } = await startWire({ target: local(DEAD_PORT) });
    const socket = connect({ port: listening, host: '127.0.0.1' });
    expect((await failure(socket)).code).toBe('ECONNRESET');
    await sleep(20);
    expect(ledger.read().unsettledConnections).toBe(0);
  });

  it('refuses a port that is taken with the reason and the way out', async () => {
    const taken = await upstreamServer(() => undefined);
    const { border } = tapSide({ clock: systemClock, counters: new Counters() });
    const listen = local(taken);
    const forwarder = new TcpProxy(wireOptions({ listen, target: listen }), border);
    await expect(forwarder.listen()).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: `cannot listen on 127.0.0.1:${taken}: the port is in use`,
    });
  });

  it('outlives errors of accepting, counts them, and goes on serving', async () => {
    const listen = vi.spyOn(Server.prototype, 'listen');
    const port = await upstreamServer((socket) => void socket.end('served'));
    listen.mockClear();
    const { port: listening, forwarder } = await startWire({ target: local(port) });
    const server = listen.mock.contexts[0] as Server;
    listen.mockRestore();
    for (let error = 0; error < 3; error += 1) server.emit('error', new Error('accept EMFILE'));
    const socket = await client(listening);
    expect((await everything(socket)).toString()).toBe('served');
    expect(forwarder.connections.turnedAway).toBe(3);
  });

  it('drains until the peers close and counts what the deadline cuts', async () => {
    const port = await upstreamServer((socket) => {
      socket.on('data', (chunk) => socket.write(chunk));
      socket.on('end', () => socket.end());
    });
    const { port: listening, forwarder, ledger } = await startWire({ target: local(port) });
    const leaving = await client(listening);
    const staying = await client(listening);
    leaving.write('x');
    staying.write('x');
    await Promise.all([once(leaving, 'data'), once(staying, 'data')]);
    const draining = forwarder.drain(300);
    leaving.destroy();
    await expect(client(listening)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(await draining).toBe(1);
    expect(forwarder.connections.open).toBe(0);
    expect(imbalance(ledger.read())).toEqual({ bytes: 0, turns: 0 });
  });
});
