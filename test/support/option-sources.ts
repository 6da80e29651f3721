import type { OptionSources } from '../../src/replay/options/replay-options.ts';

/** Nothing but the command line: no variable, no file, any objective, at the epoch. */
export const COMMAND_LINE_ALONE: OptionSources = {
  environment: () => undefined,
  readFile: () => '',
  checkSlo: () => undefined,
  nowUs: () => 0,
  originOf: () => ({ kind: 'flag', place: null }),
};
