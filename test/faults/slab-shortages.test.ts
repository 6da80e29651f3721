import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import type { RecorderStatus } from '../../src/core/status.ts';
import { runReprise } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CLIENTS = LIMITS.intakeSlabs + 8;
/** Makes the kernel's windows wide enough for two full reads at once. */
const WIDENING_BYTES = 6 * 1024 * 1024;
const FULL_READS = 2;
const ROUNDS_MAX = 10;
const STANDING_MS = 300;

const endings: (() => unknown)[] = [];
afterEach(() => {
  for (const end of endings.splice(0)) end();
});

async function sinkPort(): Promise<number> {
  const accepted: Socket[] = [];
  const server = createServer((socket) => {
    accepted.push(socket.on('error', () => undefined).resume());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  endings.push(() => {
    for (const socket of accepted) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function uploader(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' }).on('error', () => undefined);
  endings.push(() => socket.destroy());
  await once(socket, 'connect');
  socket.write('POST /v1/upload HTTP/1.1\r\nHost: m\r\nContent-Length: 999999999\r\n\r\n');
  await written(socket, WIDENING_BYTES);
  return socket;
}

function written(socket: Socket, bytes: number): Promise<void> {
  return new Promise((resolve) => socket.write(Buffer.alloc(bytes), () => resolve()));
}

it('more uploads at once than memory is lent to are counted in the status and in its text', async () => {
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(await sinkPort(), directory, ['--drain-deadline', '1s']);
  const sockets = await Promise.all(Array.from({ length: CLIENTS }, () => uploader(recording.port)));
  const shortages = async () => {
    const { stdout } = await runReprise(['status', '--dir', directory, '--json']);
    return (JSON.parse(stdout) as RecorderStatus).slabShortages;
  };
  const { forwarder } = recording.children();
  for (let round = 0; round < ROUNDS_MAX && (await shortages()) === 0; round += 1) {
    // While it stands, all of it comes together; then each socket is read twice to the brim, and waits with a slab.
    process.kill(forwarder, 'SIGSTOP');
    const sent = sockets.map((socket) => written(socket, FULL_READS * LIMITS.readBytes));
    await sleep(STANDING_MS);
    process.kill(forwarder, 'SIGCONT');
    await Promise.all(sent);
    await sleep(STANDING_MS);
  }
  expect(await shortages()).toBeGreaterThan(0);
  expect((await runReprise(['status', '--dir', directory])).stdout).toMatch(/^slab shortages +[1-9]/m);
  for (const end of endings.splice(0)) end();
  expect((await recording.stop()).status).toBe(0);
});
