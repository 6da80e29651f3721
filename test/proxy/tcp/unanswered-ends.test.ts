import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type RecordedWire, startRecordedWire } from '../../support/recorded-wire.ts';
import { tlsUpstream, VERIFIED } from '../../support/tls-stage.ts';
import { client, everything, local, upstreamServer } from '../../support/wire-stage.ts';

const REQUEST = 'POST /v1/chat HTTP/1.1\r\nHost: model\r\nContent-Length: 4\r\n\r\nbody';
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
const REFUSAL = 'HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
const EXPECTING = 'PUT /b HTTP/1.1\r\nHost: model\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n';

/** A server that ends its side at the first bytes, and goes on to read. */
async function endingServer(before = ''): Promise<{ port: number; heard: () => string }> {
  let heard = '';
  const port = await upstreamServer((socket: Socket) => {
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString('latin1');
      if (!socket.writableEnded) socket.end(before);
    });
  });
  return { port, heard: () => heard };
}

/** What a client is told that sends this, and what the recording says of it. */
async function told(wire: RecordedWire, said: string): Promise<{ text: string; outcomes: unknown[] }> {
  const socket = await client(wire.port);
  socket.write(said);
  const text = (await everything(socket)).toString();
  socket.end();
  await wire.settled();
  return { text, outcomes: wire.sink.exchanges.map(({ outcome, status }) => [outcome, status]) };
}

describe('an upstream that takes a request and ends its side without a word', () => {
  it.each([
    ['one', REQUEST],
    ['one of several in a row', `${REQUEST}${REQUEST}`],
    ['one without its body', EXPECTING],
    ['an upgrade', 'GET / HTTP/1.1\r\nHost: m\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'],
  ])('is a 502 where that was asked for, counted, and a failure of the upstream: %s', async (_, said) => {
    const { port } = await endingServer();
    const wire = await startRecordedWire({ target: local(port), refused: '502' });
    const { text, outcomes } = await told(wire, said);
    expect(text).toBe(REFUSAL);
    expect(wire.forwarder.connections.failed).toEqual({ upstream_gone: 1 });
    expect(outcomes).toEqual(outcomes.map(() => ['upstream_failed', null]));
    expect(outcomes).not.toHaveLength(0);
  });

  it('is a 502 behind TLS as well', async () => {
    const { port } = await tlsUpstream((stream) => stream.once('data', () => stream.end()));
    const target = local(port, true);
    const wire = await startRecordedWire({ target, upstreamTls: VERIFIED(), refused: '502' });
    expect((await told(wire, REQUEST)).text).toBe(REFUSAL);
    expect(wire.forwarder.connections.failed).toEqual({ upstream_gone: 1 });
  });

  const deaf = () =>
    upstreamServer((socket) => {
      socket.once('data', () => {
        socket.pause().end();
        setTimeout(() => socket.destroy(), 30);
      });
    });
  it.each([
    ['reads on', async () => (await endingServer()).port],
    ['reads no more', deaf],
  ])('lets a client that is still sending read its 502, and ends, when it %s', async (_, server) => {
    const port = await server();
    const wire = await startRecordedWire({ target: local(port), refused: '502' });
    const socket = await client(wire.port);
    socket.write('PUT /big HTTP/1.1\r\nHost: m\r\nContent-Length: 8388608\r\n\r\n');
    for (let piece = 0; piece < 128; piece += 1) socket.write(Buffer.alloc(65_536));
    expect((await everything(socket)).toString()).toBe(REFUSAL);
    socket.destroy();
    await wire.settled();
  });

  it('is passed on as the end that it is where a reset was asked for', async () => {
    const { port } = await endingServer();
    const wire = await startRecordedWire({ target: local(port), refused: 'reset' });
    const { text, outcomes } = await told(wire, REQUEST);
    expect([text, outcomes]).toEqual(['', [['upstream_failed', null]]]);
    expect(wire.forwarder.connections.failed).toEqual({});
  });

  it('is passed on where it had answered', async () => {
    const { port } = await endingServer(ANSWER);
    const wire = await startRecordedWire({ target: local(port), refused: '502' });
    expect(await told(wire, REQUEST)).toEqual({ text: ANSWER, outcomes: [['completed', 200]] });
    expect(wire.forwarder.connections.failed).toEqual({});
  });

  it('is read to by whoever speaks no HTTP/1, and hears all of it', async () => {
    const { port, heard } = await endingServer();
    const wire = await startRecordedWire({ target: local(port), refused: '502' });
    const socket = await client(wire.port);
    socket.write('\0first ');
    expect((await everything(socket)).length).toBe(0);
    socket.end('second');
    await wire.settled();
    expect(heard()).toBe('\0first second');
    expect(wire.forwarder.connections.failed).toEqual({});
  });

  it('has failed nobody who asked nothing, or had left before', async () => {
    const silent = await upstreamServer((socket) => socket.end());
    const first = await startRecordedWire({ target: local(silent), refused: '502' });
    expect((await told(first, '')).text).toBe('');
    const polite = await upstreamServer((socket) => socket.resume().on('end', () => socket.end()));
    const second = await startRecordedWire({ target: local(polite), refused: '502' });
    const leaving = await client(second.port);
    leaving.end(REQUEST);
    expect((await everything(leaving)).length).toBe(0);
    await second.settled();
    expect(second.sink.exchanges).toMatchObject([{ outcome: 'client_aborted' }]);
    for (const wire of [first, second]) expect(wire.forwarder.connections.failed).toEqual({});
  });
});
