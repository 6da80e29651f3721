import { Command } from 'commander';
import { COMPARE_OPTIONS, resolveCompareOptions } from './compare-options.ts';
import { comparisonForms } from './compare-output.ts';
import { compareNamed } from './comparing.ts';
import { writeOutputs } from './document-outputs.ts';
import { EXIT } from './exit.ts';
import { addOptions } from './flags.ts';
import { askedOf } from './options.ts';
import { terminal } from './terminal.ts';

/** `reprise compare A B`: what B has become, held against A. */
export function compareCommand(): Command {
  const command = new Command('compare')
    .description(
      'Say whether B is better or worse than A: two runs, a run and its recording, or two profiles.',
    )
    .argument('<a>', 'a run, a capture, or a file of profile --json: what is known')
    .argument('<b>', 'the same: what is new')
    .action(async (a: string, b: string, _: object, command: Command) => {
      const options = resolveCompareOptions(askedOf(command, COMPARE_OPTIONS));
      const document = await compareNamed(a, b, options);
      writeOutputs(comparisonForms(document), options.outputs, terminal);
      if (document.verdict === 'WORSE') process.exitCode = EXIT.fail;
      if (document.verdict === 'INCONCLUSIVE') process.exitCode = EXIT.inconclusive;
    });
  return addOptions(command, COMPARE_OPTIONS);
}
