import { Command } from 'commander';
import { ask } from '../../app/recorder-control.ts';
import type { RecorderStatus } from '../../core/accounting.ts';
import { text, toggle } from '../../core/options.ts';
import { addOptions, optionsOf } from '../options.ts';
import { terminal } from '../terminal.ts';

/** The options of a command that speaks to the recording of a directory. */
export const CONTROL_OPTIONS = {
  dir: text('--dir <directory>', 'directory of the running recording', { required: true }),
  json: toggle('--json', 'print one JSON document'),
};

const CHANGES = {
  pause: 'stop recording and go on forwarding',
  resume: 'record again after a pause',
};

/** `reprise pause --dir DIR`, and what ends a pause: asks for a change and prints the state after it. */
export function changeCommand(name: keyof typeof CHANGES): Command {
  return addOptions(new Command(name), CONTROL_OPTIONS)
    .description(CHANGES[name])
    .action(async (_: object, command: Command) => {
      const { dir, json } = optionsOf(command, CONTROL_OPTIONS);
      const status = await ask(dir, 'POST', `/${name}`);
      if (json) terminal.json(status);
      else terminal.print(stateText(status));
    });
}

/** `recording is OFF (paused); traffic flows` */
export function stateText({ state, why, draining }: RecorderStatus): string {
  const reason = why === null ? '' : ` (${why})`;
  return `recording is ${state}${reason}; traffic ${draining ? 'drains' : 'flows'}`;
}
