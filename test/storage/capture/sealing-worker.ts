/** The thread of `SealingThread`: seals the segments that it receives, one after the other. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { systemClock } from '../../../src/core/clock.ts';
import { settleSegment } from '../../../src/storage/capture/sealing.ts';

parentPort?.on('message', (file: string) => {
  const directory = dirname(file);
  let error: string | null = null;
  // SQLite blocks this thread, so it cannot measure then. But when the manifest is written, all other files still
  // exist.
  const before = usageOf(directory);
  try {
    if (existsSync(file)) settleSegment(file, systemClock);
  } catch (thrown) {
    error = String(thrown);
  }
  parentPort?.postMessage({ directory, peakBytes: Math.max(before, usageOf(directory)), error });
});

function usageOf(directory: string): number {
  const blocks = (path: string) => (statSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
  return readdirSync(directory).reduce((sum, file) => sum + blocks(join(directory, file)), blocks(directory));
}
