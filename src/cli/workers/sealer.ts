/** The thread that settles finished segments beside the recorder's loop, at lower priority than that. */
import { parentPort, workerData } from 'node:worker_threads';
import { settleOne, yieldProcessor } from '../../app/recording/sealing.ts';

// To Linux 0 is this very thread.
if (process.platform === 'linux') yieldProcessor(0);
for (const path of workerData as readonly string[]) parentPort?.postMessage(settleOne(path));
