import { Command } from 'commander';
import { comparisonPage, comparisonView } from '../../analysis/compare/view.ts';
import { comparisonOutcome } from '../../analysis/outcome/outcome.ts';
import { viewMarkdown, viewText } from '../../analysis/render/table.ts';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../app/compare.ts';
import { lastPassOf } from '../../app/history.ts';
import { pageAssets } from '../../app/package.ts';
import { makeReady, VERDICT_OPTIONS, writeVerdict } from '../../app/verdict-outputs.ts';
import { AppError, Problems } from '../../core/errors.ts';
import { choice, readOptions, text, toggle } from '../../core/options.ts';
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
const VERDICT_OUTPUT = {
  output: VERDICT_OPTIONS.output,
  baseline: choice('--baseline <which>', 'compare RUN with the last run of its test that passed', [
    'last-pass',
  ]),
  history: text('--history <file>', 'the history that knows the baseline'),
};
const OPTIONS = { ...OUTPUTS, ...COMPARE_OPTIONS, ...VERDICT_OUTPUT };

/** `reprise compare A B`: what B has become, held against A. */
export function compareCommand(): Command {
  return addOptions(new Command('compare'), OPTIONS)
    .description(
      'Say whether B is better or worse than A: two runs, a run and its recording, or two profiles.',
    )
    .argument('<a>', 'the baseline: a run, a capture, or a file written by profile --json')
    .argument('[b]', 'the candidate: the same kinds; with --baseline, give the candidate alone')
    .action(async (first: string, second: string | undefined, _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const outputs = outputsOf(readOptions(OUTPUTS, asked, problems), FORMS, problems);
      const { output, baseline, history } = readOptions(VERDICT_OUTPUT, asked, problems);
      const options = resolveCompareOptions(asked, problems);
      makeReady({ output, history: null });
      const [a, b] = baseline === null ? bothOf(first, second) : [baselineOf(first, second, history), first];
      const document = await compareNamed(a, b, options);
      const outcome = comparisonOutcome(document, comparisonView(document));
      terminal.note(...writeVerdict(outcome, { output }, process.env));
      writeOutputs(comparisonForms(document), outputs, terminal);
      if (document.verdict === 'WORSE') process.exitCode = EXIT.fail;
      if (document.verdict === 'INCONCLUSIVE') process.exitCode = EXIT.inconclusive;
    });
}

/** @throws AppError OPTION_INVALID where one is missing */
function bothOf(a: string, b: string | undefined): [string, string] {
  if (b !== undefined) return [a, b];
  throw new AppError('OPTION_INVALID', 'there is nothing to compare it with', {
    hint: 'Give two runs, captures or profiles, or --baseline last-pass with --history FILE.',
  });
}

/** @throws AppError OPTION_INVALID where it is not plain what is compared; INPUT_INVALID without a baseline */
function baselineOf(run: string, another: string | undefined, history: string | null): string {
  if (another === undefined && history !== null) return lastPassOf(run, history);
  const why = history === null ? 'needs --history' : 'takes the place of the first of two runs';
  throw new AppError('OPTION_INVALID', `--baseline ${why}`, {
    hint: 'Such as: reprise compare RUN --baseline last-pass --history history.sqlite.',
  });
}

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
