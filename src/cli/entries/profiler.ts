import { parentPort, workerData } from 'node:worker_threads';
import { AppError } from '../../core/errors.ts';
import type { FromProfiler } from '../profile.ts';
import { type ProfileRequest, profileCapture } from '../profiling.ts';

/** The thread that profiles a capture. Started by `profile` only. */
if (!parentPort) throw new Error('the profiler runs as a worker thread');
const port = parentPort;
const say = (message: FromProfiler): void => port.postMessage(message);

try {
  say({ kind: 'document', document: profileCapture(workerData as ProfileRequest) });
} catch (thrown) {
  if (!(thrown instanceof AppError)) throw thrown;
  say({ kind: 'failed', code: thrown.code, message: thrown.message, hint: thrown.hint });
}
