import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { repeated } from '../support/long-form.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const RUN_MS = repeated(6_000, 60_000);
/** More than the queue and the assembly hold together, so that some of it has to be shed. */
const LEAST_BULK_BYTES = 512 * 1024 * 1024;

it('a bulk transfer is shed, and each of its neighbours is recorded', async () => {
  const bulk = new Worker(new URL('./bulk-transfer-thread.ts', import.meta.url));
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
