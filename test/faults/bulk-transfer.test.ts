import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { repeated } from '../support/long-form.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/**
 * A thread with a server and one client. The server answers `/bulk` with a gibibyte and everything else with a few
 * bytes. The client requests `/bulk` from a proxy repeatedly, as fast as possible. The thread posts the server's port,
 * receives the proxy's, and posts how many bytes the client has received.
 */
const ANSWER_BYTES = 1024 * 1024 * 1024;
const PIECE = Buffer.alloc(256 * 1024, 'x');

const server = createServer((request, response) => {
  request.resume().on('end', () => {
    if (request.url !== '/bulk') {
      response.end(`{"id":${request.url?.split('=')[1]},"label":1}`);
      return;
    }
    response.writeHead(200, { 'Content-Length': ANSWER_BYTES });
    let sent = 0;
    const pour = () => {
      while (sent < ANSWER_BYTES) {
        sent += PIECE.length;
        if (!response.write(PIECE)) return;
      }
      response.end();
    };
    response.on('drain', pour);
    pour();
  });
}).listen(0, '127.0.0.1');

let bytes = 0;

function fetchBulk(port: number): void {
  const socket = connect(port, '127.0.0.1');
  socket.write('GET /bulk HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  socket.on('error', () => undefined);
  socket.on('close', () => fetchBulk(port));
}

await once(server, 'listening');
parentPort?.once('message', (port: number) => {
  fetchBulk(port);
  setInterval(() => parentPort?.postMessage(bytes), 100);
});
parentPort?.postMessage((server.address() as AddressInfo).port);

const RUN_MS = repeated(6_000, 60_000);
/** More than the queue and the assembly hold together, so that some of it has to be shed. */
const LEAST_BULK_BYTES = 512 * 1024 * 1024;

it('a bulk transfer is shed, and each of its neighbours is recorded', async () => {
  const bulk = new Worker(new URL('../support/bulk-transfer.ts', import.meta.url));
  const [target] = (await once(bulk, 'message')) as [number];
  const recording = await startRecording(target, join(temporaryDirectory(), 'capture'));
  let bulkBytes = 0;
  bulk.postMessage(recording.port);
  bulk.on('message', (bytes: number) => {
    bulkBytes = bytes;
  });
  const small = new PacedTraffic(recording.port, 100);
  await sleep(RUN_MS);
  while (bulkBytes < LEAST_BULK_BYTES) await sleep(100);
  await small.stop();
  await bulk.terminate();
  const { status, end } = await recording.stop();
  expect(status).toBe(0);
  expect(small.failed).toEqual([]);
  const { seen, recorded, lost } = end as unknown as {
    seen: { turns: number };
    recorded: { turns: number };
    lost: Record<string, { bytes: number; turns: number }>;
  };
  const bulkTurns = seen.turns - small.succeeded;
  expect(lost['queue_bytes']?.bytes).toBeGreaterThan(LEAST_BULK_BYTES / 4);
  expect(Object.values(lost).reduce((sum, { turns }) => sum + turns, 0)).toBeLessThanOrEqual(bulkTurns);
  expect(recorded.turns).toBeGreaterThanOrEqual(small.succeeded);
});
