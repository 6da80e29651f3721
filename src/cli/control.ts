import { Command } from 'commander';
import { AppError } from '../core/errors.ts';
import type { RecorderStatus } from '../core/status.ts';
import { type ControlPath, controlRequest, PATIENCE_MS } from '../proxy/control-client.ts';
import { resolveCaptureDirectory } from '../storage/capture-directory.ts';
import { hasCode } from '../storage/durable-files.ts';
import { terminal } from './terminal.ts';

export interface ControlFlags {
  readonly dir: string;
  readonly json?: boolean;
}

/** A command that speaks to the recording of a directory. */
export function controlCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .requiredOption('--dir <directory>', 'the directory that it records to')
    .option('--json', 'print one JSON document');
}

/**
 * Asks the recording of the directory that `--dir` names, and waits no longer than that for its answer.
 * @throws AppError RECORDER_UNREACHABLE where none answers, CAPTURE_NOT_FOUND where this user may not look
 */
export async function ask(
  directory: string,
  method: 'GET' | 'POST',
  path: ControlPath,
  patienceMs = PATIENCE_MS,
): Promise<RecorderStatus> {
  return controlRequest<RecorderStatus>(captureToAsk(directory), method, path, patienceMs);
}

/** A recording that starts, or cannot have its directory, forwards traffic all the same: none answers, is all we know. */
export function captureToAsk(directory: string): string {
  try {
    return resolveCaptureDirectory(directory, 'read');
  } catch (error) {
    if (!(error instanceof AppError) || hasCode(error.cause, 'EACCES')) throw error;
    throw new AppError('RECORDER_UNREACHABLE', `no recording answers: ${error.message}`, {
      hint: 'Name the directory of `reprise record --dir`. A recording that is still starting, or cannot have its directory, answers nowhere: its log says so.',
      cause: error,
    });
  }
}

/** `recording is OFF (paused); traffic flows` */
export function stateText({ state, why, draining }: RecorderStatus): string {
  const reason = why === null ? '' : ` (${why})`;
  return `recording is ${state}${reason}; traffic ${draining ? 'drains' : 'flows'}`;
}

/** Sends what asks for a change and prints the state after it. */
export async function change(flags: ControlFlags, path: ControlPath): Promise<void> {
  const status = await ask(flags.dir, 'POST', path);
  if (flags.json) terminal.json(status);
  else terminal.print(stateText(status));
}
