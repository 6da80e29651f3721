import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { type Clock, systemClock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import type { RecorderStatus } from '../core/status.ts';
import { parseDurationMs } from '../core/units.ts';
import { hasCode, isMissing } from '../storage/durable-files.ts';
import { ask, type ControlFlags, controlCommand } from './control.ts';
import { EXIT } from './exit.ts';
import { terminal } from './terminal.ts';

interface DrainFlags extends ControlFlags {
  readonly timeout: string;
}

const POLL_MS = 200;

/** `reprise drain --dir DIR`: what SIGTERM does, and waits for the end of it. */
export function drainCommand(): Command {
  return controlCommand('drain', 'stop a recording in good order, as SIGTERM does, and wait for its end')
    .option('--timeout <time>', 'how long to wait for it', '60s')
    .action(async (flags: DrainFlags) => {
      const timeoutMs = parseDurationMs(flags.timeout, '--timeout');
      const first = await ask(flags.dir, 'POST', '/drain');
      const { drained, last } = await waitForEnd(flags.dir, first, timeoutMs, systemClock);
      if (!drained) process.exitCode = EXIT.inconclusive;
      if (flags.json) terminal.json({ drained, last });
      else if (drained) terminal.print('drained: the recording has ended');
      else terminal.print(`not drained after ${flags.timeout}: ${pendingText(last)}`);
    });
}

/**
 * Waits for the end of a recording that drains, which is when its socket is gone or another recording answers there;
 * until then it says what it still waits for. Whatever else keeps it from answering is no end.
 * @throws AppError RECORDER_UNREACHABLE where it was killed meanwhile
 */
export async function waitForEnd(
  directory: string,
  first: RecorderStatus,
  timeoutMs: number,
  clock: Clock,
): Promise<{ drained: boolean; last: RecorderStatus }> {
  const deadlineNs = clock.nowNs() + timeoutMs * 1e6;
  let last = first;
  while (clock.nowNs() < deadlineNs) {
    await sleep(POLL_MS);
    try {
      const status = await ask(directory, 'GET', '/status');
      if (status.startedUs !== first.startedUs) return { drained: true, last };
      last = status;
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'RECORDER_UNREACHABLE') throw error;
      if (isGone(error.cause)) return { drained: true, last };
      if (hasCode(error.cause, 'ECONNREFUSED')) throw killed(directory, error);
    }
    terminal.progress(`draining: ${pendingText(last)}`);
  }
  return { drained: false, last };
}

/** It takes its socket away as the last thing it does; and whoever waits beside us may have moved the capture. */
function isGone(cause: unknown): boolean {
  return isMissing(cause) || (cause instanceof AppError && cause.code === 'CAPTURE_NOT_FOUND');
}

function killed(directory: string, cause: AppError): AppError {
  const message = `the recording of ${directory} is gone and has left its socket: it was killed before its end, or its disk refuses changes`;
  return new AppError('RECORDER_UNREACHABLE', message, {
    hint: 'Its log says which. What it had not recorded, sealed or handed over, the next start there counts and makes up for.',
    cause,
  });
}

function pendingText({ connections, pending, pids }: RecorderStatus): string {
  if (pids.recorder === null && pids.forwarders.every((pid) => pid === null))
    return 'all is recorded; the last segment is still being sealed and handed over';
  return `${connections.open} connections open, ${pending.turns} turns pending`;
}
