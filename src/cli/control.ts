import { Command } from 'commander';
import type { RecorderStatus } from '../core/status.ts';
import { type ControlPath, controlRequest } from '../proxy/control-client.ts';
import { resolveCaptureDirectory } from '../storage/capture-directory.ts';
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
 * Asks the recording of the directory that `--dir` names.
 * @throws AppError CAPTURE_NOT_FOUND, RECORDER_UNREACHABLE
 */
export function ask(directory: string, method: 'GET' | 'POST', path: ControlPath): Promise<RecorderStatus> {
  return controlRequest<RecorderStatus>(resolveCaptureDirectory(directory, 'read'), method, path);
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
