import { Command } from 'commander';
import { exitCodeOf } from '../analysis/verdict/verdict.ts';
import { toggle } from '../core/options.ts';
import { EXIT } from './exit.ts';
import { addOptions } from './flags.ts';
import { mergedLines } from './merge-document.ts';
import { MERGE_OPTIONS, mergeRuns, resolveMergeOptions } from './merging.ts';
import { askedOf, optionsOf } from './options.ts';
import { terminal } from './terminal.ts';

const OUTPUT = { json: toggle('--json', 'print one JSON document') };
const OPTIONS = { ...MERGE_OPTIONS, ...OUTPUT };

/** `reprise merge RUN...`: the runs of shards as one run, judged as one. */
export function mergeCommand(): Command {
  const command = new Command('merge')
    .description('Put the runs of all shards of a replay together and judge them as one run.')
    .argument('<run...>', 'directories of runs of replay --shard')
    .action(async (directories: string[], _: object, command: Command) => {
      // Before anything is waited for: what is wrong with the command line is said at once.
      const options = resolveMergeOptions(askedOf(command, OPTIONS));
      const { directory, document, stoppedByFailures } = await mergeRuns(directories, options, {
        onWaiting: (open, of) => terminal.progress(`waiting for ${open.length} of ${of} runs: ${open[0]}`),
        onLeftOut: (open) => terminal.note(`Not sealed in time, and left out: ${open.join(', ')}`),
      });
      if (optionsOf(command, OUTPUT).json) terminal.json(document);
      else {
        const kept = `Run ${document.run}: ${directory}`;
        terminal.print(...viewText(runView(document), 'brief'), ...mergedLines(document.merged), '', kept);
      }
      process.exitCode = stoppedByFailures ? EXIT.unreachable : exitCodeOf(document);
    });
  return addOptions(command, OPTIONS);
}

import { viewText } from '../analysis/render/text.ts';
import { runView } from '../analysis/report/view.ts';
