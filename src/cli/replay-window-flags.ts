import type { Command } from 'commander';
import { WINDOW_DEFAULTS } from '../replay/windows/request.ts';
import { RepeatableOption } from './repeatable.ts';

/** The flags that say which part of a capture is played, and how often. */
export function addWindowFlags(command: Command): Command {
  addStretchFlags(command, 'play');
  command
    .option('--loop <n>', 'play the windows so many times')
    .option('--duration <time>', 'end the plan then; windows that are over sooner are repeated');
  return addSelectionFlags(command, 'play');
}

/** The flags that say which stretches of a capture are read. `verb` is what is done with them. */
export function addStretchFlags(command: Command, verb: string): Command {
  const repeatable = (flags: string, text: string) => command.addOption(new RepeatableOption(flags, text));
  repeatable('--from <time>', 'first instant of a window, ISO 8601 (default: the first arrival)');
  repeatable('--to <time>', 'instant a window ends before (default: after the last arrival)');
  repeatable('--day <date>', 'a day as a window, such as 2026-11-20');
  return command
    .option('--tz <zone>', 'time zone of the days', WINDOW_DEFAULTS.tz)
    .option('--peak <time>', `${verb} the busiest stretch so long, such as 15m`)
    .option('--worst <time>', `${verb} the stretch so long whose mean recorded latency is the greatest`);
}

/** The flags that say which exchanges of the stretches are meant. */
export function addSelectionFlags(command: Command, verb: string): Command {
  const repeatable = (flags: string, text: string) => command.addOption(new RepeatableOption(flags, text));
  repeatable('--recorder <id>', `${verb} what this recorder recorded`);
  repeatable('--method <name>', `${verb} requests of this method`);
  repeatable('--path <glob>', `${verb} requests to such paths: * within a segment, ** across segments`);
  repeatable('--status <status>', `${verb} what was answered so: 429, 2xx, none; 2xx|429 for either`);
  repeatable('--model <name>', `${verb} requests to this model; * for any characters`);
  repeatable('--client <hash>', `${verb} requests of this client, by its hash in the capture`);
  return command
    .option('--min-request-body <size>', `${verb} requests with a body of at least so much`)
    .option('--max-request-body <size>', `${verb} requests with a body of at most so much`);
}
