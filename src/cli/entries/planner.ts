import { parentPort, workerData } from 'node:worker_threads';
import { AppError } from '../../core/errors.ts';
import type { FromPlanner } from '../planner-thread.ts';
import { type DryRunRequest, planWindow } from '../replay-dry-run.ts';

/** The thread that plans a dry run. Started by `replay --dry-run` only. */
if (!parentPort) throw new Error('the planner runs as a worker thread');
const port = parentPort;
const say = (message: FromPlanner): void => port.postMessage(message);

try {
  planWindow(workerData as DryRunRequest, {
    print: (lines) => say({ kind: 'lines', lines }),
    json: (document) => say({ kind: 'document', document }),
  });
} catch (thrown) {
  if (!(thrown instanceof AppError)) throw thrown;
  say({ kind: 'failed', code: thrown.code, message: thrown.message, hint: thrown.hint });
}
