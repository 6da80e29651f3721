/** The thread that seals finished segments, with a lower priority than the recorder's event loop. */
import { parentPort, workerData } from 'node:worker_threads';
import { settleOne, yieldProcessor } from '../../app/recording/sealing.ts';

// In Linux, 0 means the calling thread.
if (process.platform === 'linux') yieldProcessor(0);
for (const path of workerData as readonly string[]) parentPort?.postMessage(settleOne(path));
