import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { FirstLine } from '../../../src/proxy/tcp/connection.ts';
import { DEAD_PORT } from '../../support/free-port.ts';
import { startRecordedWire } from '../../support/recorded-wire.ts';
import { client, everything, failure, local, startWire, upstreamServer } from '../../support/wire-stage.ts';

const REQUEST = 'POST /v1/chat HTTP/1.1\r\nHost: model\r\nContent-Length: 4\r\n\r\nbody';
const REFUSAL = 'HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';

/** Sends something to a wire whose target is not there. */
async function refusedClient(refused: 'reset' | '502') {
  const wire = await startWire({ target: local(DEAD_PORT), refused });
  return { wire, socket: await client(wire.port) };
}

async function idle(wire: { forwarder: { connections: { open: number } } }): Promise<void> {
  while (wire.forwarder.connections.open > 0) await sleep(5);
}

describe('a target that cannot be reached', () => {
  it('is a reset, and counted', async () => {
    const { wire, socket } = await refusedClient('reset');
    socket.write(REQUEST);
    expect((await failure(socket)).code).toBe('ECONNRESET');
    await idle(wire);
    expect(wire.forwarder.connections).toEqual({
      open: 0,
      turnedAway: 0,
      failed: { upstream_refused: 1 },
    });
  });

  it('is a 502 that ends the connection, where that was asked for', async () => {
    const { wire, socket } = await refusedClient('502');
    socket.write(REQUEST);
    expect((await everything(socket)).toString()).toBe(REFUSAL);
    socket.end();
    await once(socket, 'close');
    await idle(wire);
    // It never came from the upstream: only what the client said was seen.
    expect(wire.ledger.read().seen).toEqual({ bytes: REQUEST.length, turns: 1 });
    expect(wire.forwarder.connections.failed).toEqual({ upstream_refused: 1 });
  });

  it('is recorded as a failure of the upstream, not as a client that left when it had read its 502', async () => {
    const wire = await startRecordedWire({ target: local(DEAD_PORT), refused: '502' });
    const socket = await client(wire.port);
    socket.write(REQUEST);
    expect((await everything(socket)).toString()).toBe(REFUSAL);
    socket.end();
    await wire.settled();
    expect(wire.sink.exchanges).toMatchObject([{ outcome: 'upstream_failed', status: null }]);
  });

  it('is recorded as that also for a request that comes when it is known already, such as an upload that waits for 100', async () => {
    const wire = await startRecordedWire({ target: local(DEAD_PORT), refused: '502' });
    const socket = await client(wire.port);
    while (wire.forwarder.connections.failed?.upstream_refused !== 1) await sleep(5);
    socket.write('PUT /b HTTP/1.1\r\nHost: m\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n');
    await once(socket.resume(), 'end');
    socket.end();
    await wire.settled();
    expect(wire.sink.exchanges).toMatchObject([{ outcome: 'upstream_failed', status: null }]);
  });

  it.each(['is reset', 'ends'])(
    'is recorded as that also for a client that %s while it is waited for',
    async (how) => {
      const connectRetryMs = how === 'ends' ? 300 : 60_000;
      const wire = await startRecordedWire({ target: local(DEAD_PORT), connectRetryMs });
      const socket = await client(wire.port);
      socket.write(REQUEST);
      while (wire.ledger.read().seen.turns === 0 || wire.notices.length === 0) await sleep(5);
      if (how === 'ends') socket.end();
      else socket.resetAndDestroy();
      await wire.settled();
      expect(wire.sink.exchanges).toMatchObject([{ outcome: 'upstream_failed', status: null }]);
    },
  );

  it('is a 502 also for a request that comes in pieces long after, and one that ended with it', async () => {
    const { socket } = await refusedClient('502');
    for (const piece of ['GE', 'T / HT', 'TP/1.1\r', '\nHost: x\r\n\r\n']) {
      await sleep(20);
      socket.write(piece);
    }
    expect((await everything(socket)).toString()).toBe(REFUSAL);
    const second = await refusedClient('502');
    second.socket.end(REQUEST);
    expect((await everything(second.socket)).toString()).toBe(REFUSAL);
  });

  it('lets a client that is still sending a large body read its 502', async () => {
    const { wire, socket } = await refusedClient('502');
    socket.write('PUT /big HTTP/1.1\r\nContent-Length: 8388608\r\n\r\n');
    for (let piece = 0; piece < 128; piece += 1) socket.write(Buffer.alloc(65_536));
    expect((await everything(socket)).toString()).toBe(REFUSAL);
    socket.destroy();
    await idle(wire);
  });

  it('is a reset for what is no HTTP/1', async () => {
    const first = [
      '\u0016\u0003\u0001\u0002\u0000',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '\0\0\0',
      'x'.repeat(9_000),
    ];
    for (const bytes of first) {
      const { wire, socket } = await refusedClient('502');
      const failed = failure(socket);
      const said: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => said.push(chunk));
      socket.write(bytes, 'latin1');
      expect([bytes.slice(0, 5), (await failed).code, said.length]).toEqual([
        bytes.slice(0, 5),
        'ECONNRESET',
        0,
      ]);
      await idle(wire);
    }
  });

  it('fails a client of HTTP/2 instead of confusing it', async () => {
    const { wire } = await refusedClient('502');
    const session = connectHttp2(`http://127.0.0.1:${wire.port}`);
    const [error] = (await once(session, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNRESET');
  });
});

describe('a target that goes away', () => {
  it('before it answered is a 502 where that was asked for', async () => {
    const port = await upstreamServer((socket) => socket.on('data', () => socket.resetAndDestroy()));
    const wire = await startWire({ target: local(port), refused: '502' });
    const socket = await client(wire.port);
    socket.write(REQUEST);
    expect((await everything(socket)).toString()).toBe(REFUSAL);
    expect(wire.forwarder.connections.failed).toEqual({ upstream_gone: 1 });
  });

  it('after it has answered anything is a reset', async () => {
    const port = await upstreamServer((socket) =>
      socket.on('data', (chunk) => {
        if (chunk.includes('second')) socket.resetAndDestroy();
        else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      }),
    );
    const wire = await startWire({ target: local(port), refused: '502' });
    const socket = await client(wire.port);
    socket.write('GET /first HTTP/1.1\r\n\r\n');
    await once(socket, 'data');
    const failed = failure(socket);
    socket.write('GET /second HTTP/1.1\r\n\r\n');
    expect((await failed).code).toBe('ECONNRESET');
    expect(wire.forwarder.connections.failed).toEqual({});
  });
});

describe('connections over the limit', () => {
  it('are closed and counted, over all pairs together', async () => {
    const held: Socket[] = [];
    const target = local(await upstreamServer((socket) => held.push(socket)));
    const pairs = [
      { listen: local(), target },
      { listen: local(), target },
    ];
    const wire = await startWire({ pairs, maxConnections: 2 });
    const ports = wire.bound.map((endpoint) => (endpoint.kind === 'tcp' ? endpoint.port : 0));
    const [one] = await Promise.all(ports.map((port) => client(port)));
    await sleep(30);
    for (const port of ports) await once((await client(port)).resume(), 'end');
    expect(wire.forwarder.connections).toMatchObject({ open: 2, turnedAway: 2 });
    one?.destroy();
    for (const socket of held) socket.end();
    while (wire.forwarder.connections.open > 1) await sleep(5);
    const again = await client(ports[0] ?? 0);
    again.write('x');
    await sleep(50);
    expect(again.destroyed).toBe(false);
  });
});

describe('the first line', () => {
  it('is one of HTTP/1 only when it is whole and says so', () => {
    const verdicts = [
      'GET / HTTP/1.1\r\n',
      'get x HTTP/1.0\nrest',
      'GET / HTTP/2.0\r\n',
      'GET /',
      'GET / HTTP/1.1',
    ];
    expect(
      verdicts.map((text) => {
        const line = new FirstLine();
        line.take(Buffer.from(text));
        return line.verdict;
      }),
    ).toEqual(['http1', 'http1', 'other', 'open', 'open']);
  });

  it('is read byte for byte to the same verdict', () => {
    const line = new FirstLine();
    for (const byte of Buffer.from('M-SEARCH * HTTP/1.1\r\n')) {
      expect(line.verdict).toBe('open');
      line.take(Buffer.from([byte]));
    }
    expect(line.verdict).toBe('http1');
  });
});
