import type { Command } from 'commander';
import { changeCommand } from './control.ts';

/** `reprise resume --dir DIR`: ends a pause. */
export function resumeCommand(): Command {
  return changeCommand('resume', 'record again after a pause', '/resume');
}
