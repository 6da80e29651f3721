import type { Command } from 'commander';
import { changeCommand } from './control.ts';

/** `reprise pause --dir DIR`: nothing is recorded until `resume`. */
export function pauseCommand(): Command {
  return changeCommand('pause', 'stop recording and go on forwarding', '/pause');
}
