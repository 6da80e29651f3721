import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runProcess } from '../support/process.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Descriptors that the forwarder may open beside those it has. */
const SPARE = 40;

let upstream: Server;
let recording: RecordingProcess;
let prlimit = false;

beforeAll(async () => {
  upstream = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  }).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const address = upstream.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  prlimit = (await runProcess('prlimit', ['--version']).catch(() => ({ status: 1 }))).status === 0;
  recording = await startRecording(address.port, `${temporaryDirectory()}/capture`);
}, 60_000);

afterAll(() => upstream.close());

/** Whether a request on a connection of its own is answered; the socket stays open where it is. */
async function isServed(): Promise<Socket | null> {
  const socket = connect({ port: recording.port, host: '127.0.0.1' });
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

describe('a forwarder without a descriptor left', () => {
  it('serves those it has, turns others away and counts them, and serves again once some are free', async ({
    skip,
  }) => {
    skip(!prlimit, 'prlimit is not on this machine');
    const { forwarder } = recording.children();
    const before = readdirSync(`/proc/${forwarder}/fd`).length;
    const limit = before + SPARE;
    const set = await runProcess('prlimit', [`--pid=${forwarder}`, `--nofile=${limit}:${limit}`]);
    expect(set.status).toBe(0);
    const served: Socket[] = [];
    let away = 0;
    for (let client = 0; client < SPARE; client += 1) {
      const socket = await isServed();
      if (socket) served.push(socket);
      else away += 1;
    }
    expect(served.length).toBeGreaterThan(SPARE / 4);
    expect(away).toBeGreaterThan(SPARE / 4);
    for (const socket of served) {
      socket.write('GET / HTTP/1.1\r\nHost: model\r\n\r\n');
      await once(socket, 'data');
    }
    for (const socket of served) socket.destroy();
    await sleep(300);
    const again = await isServed();
    expect(again).not.toBeNull();
    again?.destroy();
    const { status, end } = await recording.stop();
    expect(status).toBe(0);
    expect(end).toMatchObject({ turnedAway: away, pending: { bytes: 0, turns: 0 } });
  }, 60_000);
});
