import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { type Clock, systemClock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import type { RecorderStatus } from '../core/status.ts';
import { parseDurationMs } from '../core/units.ts';
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
      else
        terminal.print(`not drained after ${flags.timeout}: ${last.connections.open} connections are open`);
    });
}

/** The recording has ended when it does not answer any more; until then it says what it still waits for. */
async function waitForEnd(
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
      last = await ask(directory, 'GET', '/status');
    } catch (error) {
      if (error instanceof AppError && error.code === 'RECORDER_UNREACHABLE') return { drained: true, last };
      throw error;
    }
    const { open } = last.connections;
    terminal.progress(`draining: ${open} connections open, ${last.pending.turns} turns pending`);
  }
  return { drained: false, last };
}
