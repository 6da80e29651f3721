import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runProcess } from '../support/process.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CLIENTS = 40;

let upstream: Server;
let upstreamPort: number;

beforeAll(async () => {
  upstream = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  }).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const address = upstream.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  upstreamPort = address.port;
});

afterAll(() => upstream.close());

/** The socket of a client whose request was answered, which stays open; null for one that was turned away. */
async function servedBy({ port }: RecordingProcess): Promise<Socket | null> {
  const socket = connect({ port, host: '127.0.0.1' });
  const answered = await new Promise<boolean>((resolve) => {
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
    socket.on('data', () => resolve(true));
    socket.write('GET / HTTP/1.1\r\nHost: model\r\n\r\n');
  });
  if (answered) return socket;
  socket.destroy();
  return null;
}

async function crowd(recording: RecordingProcess): Promise<{ served: Socket[]; away: number }> {
  const served: Socket[] = [];
  for (let client = 0; client < CLIENTS; client += 1) {
    const socket = await servedBy(recording);
    if (socket) served.push(socket);
  }
  return { served, away: CLIENTS - served.length };
}

/** Those that were served still are; once they have gone, others are. @returns how many came before that */
async function expectToServeOn(recording: RecordingProcess, served: readonly Socket[]): Promise<number> {
  for (const socket of served) {
    socket.write('GET / HTTP/1.1\r\nHost: model\r\n\r\n');
    await once(socket, 'data');
  }
  for (const socket of served) socket.destroy();
  for (let early = 0; ; early += 1) {
    const again = await servedBy(recording);
    again?.destroy();
    if (again !== null) return early;
    await sleep(20);
  }
}

describe('a forwarder', () => {
  it.each([
    // 185 are kept; in the wire plane a connection takes two of the rest, an odd one is of no use.
    { plane: 'wire', openFiles: 236, room: 25, flags: [] },
    { plane: 'wire', openFiles: 237, room: 26, flags: [] },
    // A gateway may hold as many idle clients as are left beside the requests in flight.
    { plane: 'gateway', openFiles: 225, room: 30, flags: ['--mode', 'gateway', '--max-in-flight', '10'] },
  ])(
    'of the $plane plane with $openFiles open files serves $room connections and counts every one it turns away',
    async ({ openFiles, room, flags }) => {
      const recording = await startRecording(upstreamPort, `${temporaryDirectory()}/capture`, flags, {
        openFiles,
      });
      const { served, away } = await crowd(recording);
      expect(served).toHaveLength(room);
      for (const socket of served) socket.destroy();
      const { status, log, end } = await recording.stop();
      expect(status).toBe(0);
      expect(end).toMatchObject({ turnedAway: away, pending: { bytes: 0, turns: 0 } });
      expect(log.find(({ message }) => message === 'forwarding')).toMatchObject({ maxConnections: room });
    },
  );

  it.each([[['--max-connections', '500']], [[]]])(
    'given %j says so when the open files leave room for few connections',
    async (flags) => {
      const recording = await startRecording(upstreamPort, `${temporaryDirectory()}/capture`, flags, {
        openFiles: 344,
      });
      const { log } = await recording.stop();
      expect(log.find(({ message }) => message.includes('ulimit -n'))).toMatchObject({
        level: 'warn',
        maxConnections: 79,
        openFiles: 344,
      });
    },
  );

  it('whose limit was lowered while it runs serves those it has, and others once some are free', async ({
    skip,
  }) => {
    const prlimit = await runProcess('prlimit', ['--version']).catch(() => ({ status: 1 }));
    skip(prlimit.status !== 0, 'prlimit is not on this machine');
    const recording = await startRecording(upstreamPort, `${temporaryDirectory()}/capture`);
    const { proxy: forwarder } = recording.children();
    const limitTo = async (files: number) =>
      (await runProcess('prlimit', [`--pid=${forwarder}`, `--nofile=${files}:`])).status;
    const limit = readdirSync(`/proc/${forwarder}/fd`).length + CLIENTS;
    expect(await limitTo(limit)).toBe(0);
    const first = await crowd(recording);
    expect(first.served.length).toBeGreaterThan(CLIENTS / 4);
    expect(first.away).toBeGreaterThan(CLIENTS / 4);
    // With one more: one of the two is a descriptor for a client and none for its upstream connection.
    expect(await limitTo(limit + 1)).toBe(0);
    const second = await crowd(recording);
    const early = await expectToServeOn(recording, [...first.served, ...second.served]);
    const { status, end } = await recording.stop();
    expect(status).toBe(0);
    // Those that the runtime closed itself, for want of any descriptor to accept them with, it told nobody.
    expect(Number(end['turnedAway'])).toBeGreaterThan(CLIENTS / 4);
    expect(Number(end['turnedAway'])).toBeLessThanOrEqual(first.away + second.away + early);
    expect(end).toMatchObject({ pending: { bytes: 0, turns: 0 } });
  });
});
