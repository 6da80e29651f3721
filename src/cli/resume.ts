import type { Command } from 'commander';
import { type ControlFlags, change, controlCommand } from './control.ts';

/** `reprise resume --dir DIR`: ends a pause. */
export function resumeCommand(): Command {
  return controlCommand('resume', 'record again after a pause').action((flags: ControlFlags) =>
    change(flags, '/resume'),
  );
}
