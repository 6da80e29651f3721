import type { Command } from 'commander';
import { WINDOW_DEFAULTS } from '../replay/windows/request.ts';
import { RepeatableOption } from './repeatable.ts';

/** The flags that say which part of a capture is played, and how often. */
export function addWindowFlags(command: Command): Command {
  const repeatable = (flags: string, text: string) => command.addOption(new RepeatableOption(flags, text));
  repeatable('--from <time>', 'first instant of a window, ISO 8601 (default: the first arrival)');
  repeatable('--to <time>', 'instant a window ends before (default: after the last arrival)');
  repeatable('--day <date>', 'a day as a window, such as 2026-11-20');
  command
    .option('--tz <zone>', 'time zone of the days', WINDOW_DEFAULTS.tz)
    .option('--peak <time>', 'play the busiest stretch so long, such as 15m')
    .option('--worst <time>', 'play the stretch so long whose mean recorded latency is the greatest')
    .option('--loop <n>', 'play the windows so many times')
    .option('--duration <time>', 'end the plan then; windows that are over sooner are repeated');
  repeatable('--recorder <id>', 'play what this recorder recorded');
  repeatable('--method <name>', 'play requests of this method');
  repeatable('--path <glob>', 'play requests to such paths: * within a segment, ** across segments');
  repeatable('--status <status>', 'play what was answered so: 429, 2xx, none; 2xx|429 for either');
  repeatable('--model <name>', 'play requests to this model; * for any characters');
  repeatable('--client <hash>', 'play requests of this client, by its hash in the capture');
  return command
    .option('--min-request-body <size>', 'play requests with a body of at least so much')
    .option('--max-request-body <size>', 'play requests with a body of at most so much');
}
