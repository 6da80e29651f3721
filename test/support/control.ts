import { setTimeout as sleep } from 'node:timers/promises';
import type { RecorderStatus } from '../../src/core/accounting.ts';
import { type ControlPath, controlRequest } from '../../src/proxy/control/admin-client.ts';

const PATIENCE_MS = 25_000;

export function statusIn(directory: string): Promise<RecorderStatus> {
  return controlRequest<RecorderStatus>(directory, 'GET', '/status');
}

export function askFor(directory: string, path: Exclude<ControlPath, '/status'>): Promise<RecorderStatus> {
  return controlRequest<RecorderStatus>(directory, 'POST', path);
}

/** Waits until a recording has the wanted status; fails with its last status. */
export async function untilStatus(
  directory: string,
  wanted: (status: RecorderStatus) => boolean,
): Promise<RecorderStatus> {
  let last: unknown = null;
  for (let waitedMs = 0; waitedMs < PATIENCE_MS; waitedMs += 50) {
    try {
      const status = await statusIn(directory);
      if (wanted(status)) return status;
      last = status;
    } catch (error) {
      // It may not answer yet. The last error is shown if the wait fails.
      last = error;
    }
    await sleep(50);
  }
  throw new Error(
    `the recording did not become what was waited for: ${JSON.stringify(last)} ${String(last)}`,
  );
}
