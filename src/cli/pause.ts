import type { Command } from 'commander';
import { type ControlFlags, change, controlCommand } from './control.ts';

/** `reprise pause --dir DIR`: nothing is recorded until `resume`. */
export function pauseCommand(): Command {
  return controlCommand('pause', 'stop recording and go on forwarding').action((flags: ControlFlags) =>
    change(flags, '/pause'),
  );
}
