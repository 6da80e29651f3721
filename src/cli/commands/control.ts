import { Command } from 'commander';
import { ask } from '../../app/recorder-control.ts';
import type { RecorderStatus } from '../../core/accounting.ts';
import { text, toggle } from '../../core/options.ts';
import type { ControlPath } from '../../proxy/control/admin-client.ts';
import { addOptions } from '../flags.ts';
import { optionsOf } from '../options.ts';
import { terminal } from '../terminal.ts';

/** The options of a command that speaks to the recording of a directory. */
export const CONTROL_OPTIONS = {
  dir: text('--dir <directory>', 'directory of the running recording', { required: true }),
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

/** `recording is OFF (paused); traffic flows` */
export function stateText({ state, why, draining }: RecorderStatus): string {
  const reason = why === null ? '' : ` (${why})`;
  return `recording is ${state}${reason}; traffic ${draining ? 'drains' : 'flows'}`;
}

/** `reprise pause --dir DIR`: nothing is recorded until `resume`. */
export function pauseCommand(): Command {
  return changeCommand('pause', 'stop recording and go on forwarding', '/pause');
}

/** `reprise resume --dir DIR`: ends a pause. */
export function resumeCommand(): Command {
  return changeCommand('resume', 'record again after a pause', '/resume');
}
