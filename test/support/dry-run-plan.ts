import { openForReplay } from '../../src/cli/replay-capture.ts';
import { planWindow } from '../../src/cli/replay-dry-run.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../src/replay/options.ts';
import { chooseWindow } from '../../src/replay/window.ts';
import { COMMAND_LINE_ALONE } from './option-sources.ts';

/** What a dry run of a capture says, to people and to programs. */
export interface DryRunPlan {
  readonly text: string;
  readonly document: object;
}

/** Plans a capture as `replay --dry-run` does with these flags. */
export function dryRunPlan(capture: string, flags: RawReplayOptions): DryRunPlan {
  const options = resolveReplayOptions({ dryRun: true, ...flags }, COMMAND_LINE_ALONE);
  const opened = openForReplay(capture, null, options.window.recorders);
  const window = chooseWindow(opened.overview, options.window, options.multiplier);
  opened.source.close();
  const lines: string[] = [];
  const documents: object[] = [];
  for (const json of [false, true]) {
    planWindow(
      { directory: capture, encryptionKeyFile: null, options, window, json },
      { print: (more) => lines.push(...more), json: (document) => documents.push(document) },
    );
  }
  return { text: lines.join('\n'), document: documents[0] as object };
}
