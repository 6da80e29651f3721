import { openForReplay } from '../../src/app/open-capture.ts';
import { dryRunDocument, planWindow } from '../../src/app/replay/dry-run.ts';
import { chooseReplay, planLines, planOf } from '../../src/app/replay/plan.ts';
import { dryRunLines } from '../../src/cli/commands/replay.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../src/replay/options/replay-options.ts';
import { COMMAND_LINE_ALONE } from './option-sources.ts';

/** The output of a dry run, as text and as a document. */
export interface DryRunPlan {
  readonly text: string;
  readonly document: object;
}

/** Plans a capture as `replay --dry-run` does with these flags. */
export async function dryRunPlan(capture: string, flags: RawReplayOptions): Promise<DryRunPlan> {
  const options = resolveReplayOptions({ dryRun: true, ...flags }, COMMAND_LINE_ALONE);
  const opened = openForReplay(capture, null, options.window.recorders);
  try {
    const choice = chooseReplay(opened, options);
    const lines: string[] = [];
    const outcome = await planWindow(planOf(choice), choice.source, opened.source, (prelude) =>
      lines.push(...planLines(planOf(choice), prelude)),
    );
    return {
      text: [...lines, ...dryRunLines(outcome)].join('\n'),
      document: dryRunDocument(outcome, opened.identity),
    };
  } finally {
    opened.source.close();
  }
}
