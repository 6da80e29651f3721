import { Command } from 'commander';
import { COMPARISON_BOUNDS } from '../analysis/compare/comparison-bounds.ts';
import { type RawCompareOptions, resolveCompareOptions } from './compare-options.ts';
import { comparisonForms } from './compare-output.ts';
import { compareNamed } from './comparing.ts';
import { writeOutputs } from './document-outputs.ts';
import { EXIT } from './exit.ts';
import { RepeatableOption } from './repeatable.ts';
import { terminal } from './terminal.ts';

/** `reprise compare A B`: what B has become, held against A. */
export function compareCommand(): Command {
  return new Command('compare')
    .description(
      'Say whether B is better or worse than A: two runs, a run and its recording, or two profiles.',
    )
    .argument('<a>', 'a run, a capture, or a file of profile --json: what is known')
    .argument('<b>', 'the same: what is new')
    .option('--json', 'print one JSON document')
    .option('--html [file]', 'write one self-contained page; without a file, print it')
    .option('--md [file]', 'write Markdown; without a file, print it')
    .option(
      '--floor <share>',
      'a latency that changes by less is the same',
      `${COMPARISON_BOUNDS.floor * 100}%`,
    )
    .option(
      '--detect <share>',
      'SAME is only said where a change by so much would have been seen',
      `${COMPARISON_BOUNDS.detect * 100}%`,
    )
    .option(
      '--failure-floor <share>',
      'a share of failed or turned-away requests that changes by less is the same',
      `${COMPARISON_BOUNDS.failureFloor * 100}%`,
    )
    .addOption(
      new RepeatableOption(
        '--shift-bound <group=share>',
        'how far a group of figures of two profiles may lie apart, such as rate=30%',
      ),
    )
    .option('--allow-differences', 'compare runs of different facts nevertheless, and mark them')
    .action(async (a: string, b: string, flags: RawCompareOptions, command: Command) => {
      const options = resolveCompareOptions(flags, (name) => command.getOptionValueSource(name) === 'cli');
      const document = await compareNamed(a, b, options);
      writeOutputs(comparisonForms(document), options.outputs, terminal);
      if (document.verdict === 'WORSE') process.exitCode = EXIT.fail;
      if (document.verdict === 'INCONCLUSIVE') process.exitCode = EXIT.inconclusive;
    });
}
