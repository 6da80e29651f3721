import { Command } from 'commander';
import type { RecorderStatus } from '../core/accounting.ts';
import { AppError } from '../core/errors.ts';
import { text, toggle } from '../core/options.ts';
import { type ControlPath, controlRequest, PATIENCE_MS } from '../proxy/control/admin-client.ts';
import { hasCode, resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { addOptions } from './flags.ts';
import { optionsOf } from './options.ts';
import { terminal } from './terminal.ts';

/** The options of a command that speaks to the recording of a directory. */
export const CONTROL_OPTIONS = {
  dir: text('--dir <directory>', 'the directory that it records to', { required: true }),
  json: toggle('--json', 'print one JSON document'),
};

/** A command that asks for a change and prints the state after it. */
export function changeCommand(name: string, description: string, path: ControlPath): Command {
  const command = new Command(name).description(description).action(async (_: object, command: Command) => {
    const { dir, json } = optionsOf(command, CONTROL_OPTIONS);
    const status = await ask(dir, 'POST', path);
    if (json) terminal.json(status);
    else terminal.print(stateText(status));
  });
  return addOptions(command, CONTROL_OPTIONS);
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
