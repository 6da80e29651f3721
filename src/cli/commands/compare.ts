import { Command } from 'commander';
import { comparisonPage, comparisonView } from '../../analysis/compare/view.ts';
import { comparisonOutcome } from '../../analysis/outcome/outcome.ts';
import { viewMarkdown, viewText } from '../../analysis/render/table.ts';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../app/compare.ts';
import { pageAssets } from '../../app/package.ts';
import { VERDICT_OPTIONS, writeVerdict } from '../../app/verdict-outputs.ts';
import { Problems } from '../../core/errors.ts';
import { readOptions, toggle } from '../../core/options.ts';
import type { ComparisonDocument } from '../../documents/comparison.ts';
import { EXIT } from '../exit.ts';
import { addOptions, askedOf } from '../options.ts';
import { type DocumentForms, formOption, outputsOf, writeOutputs } from '../output.ts';
import { terminal } from '../terminal.ts';

const OUTPUTS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
  md: formOption('--md [file]', 'write Markdown'),
};
const FORMS = ['html', 'md'] as const;
const VERDICT_OUTPUT = { output: VERDICT_OPTIONS.output };
const OPTIONS = { ...OUTPUTS, ...COMPARE_OPTIONS, ...VERDICT_OUTPUT };

/** `reprise compare A B`: what B has become, held against A. */
export function compareCommand(): Command {
  return addOptions(new Command('compare'), OPTIONS)
    .description(
      'Say whether B is better or worse than A: two runs, a run and its recording, or two profiles.',
    )
    .argument('<a>', 'the baseline: a run, a capture, or a file written by profile --json')
    .argument('<b>', 'the candidate: the same kinds')
    .action(async (a: string, b: string, _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const outputs = outputsOf(readOptions(OUTPUTS, asked, problems), FORMS, problems);
      const { output } = readOptions(VERDICT_OUTPUT, asked, problems);
      const document = await compareNamed(a, b, resolveCompareOptions(asked, problems));
      const outcome = comparisonOutcome(document, comparisonView(document));
      terminal.note(...writeVerdict(outcome, { output }, process.env));
      writeOutputs(comparisonForms(document), outputs, terminal);
      if (document.verdict === 'WORSE') process.exitCode = EXIT.fail;
      if (document.verdict === 'INCONCLUSIVE') process.exitCode = EXIT.inconclusive;
    });
}

/** A comparison in all its forms. */
export function comparisonForms(document: ComparisonDocument): DocumentForms<(typeof FORMS)[number]> {
  return {
    json: document,
    text: () => viewText(comparisonView(document)),
    rendered: {
      html: { called: 'page', render: () => comparisonPage(document, pageAssets()) },
      md: { called: 'Markdown', render: () => viewMarkdown(comparisonView(document)) },
    },
  };
}
