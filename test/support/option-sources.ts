import type { OptionSources } from '../../src/replay/options/replay-options.ts';

/** Only the command line: no variables and no files. The time is 1970. */
export const COMMAND_LINE_ALONE: OptionSources = {
  environment: () => undefined,
  readFile: () => '',
  monitored: new Set(['gpu']),
  nowUs: () => 0,
  originOf: () => ({ kind: 'flag', place: null }),
};
