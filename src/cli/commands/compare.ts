import { Command } from 'commander';
import { comparisonPage } from '../../analysis/compare/page.ts';
import { comparisonScreen } from '../../analysis/compare/screen.ts';
import { comparisonView } from '../../analysis/compare/view.ts';
import { verdictLines } from '../../analysis/render/screen.ts';
import { viewMarkdown, viewText } from '../../analysis/render/table.ts';
import { ciReportOfComparison } from '../../analysis/verdict/ci-report.ts';
import { COMPARE_OPTIONS, compareNamed, comparePasses, resolveCompareOptions } from '../../app/compare.ts';
import { lastPassOf } from '../../app/history.ts';
import { pageAssets } from '../../app/package.ts';
import { isAlternation } from '../../app/run-files.ts';
import { writeVerdict } from '../../app/verdict/delivery.ts';
import { makeReady, VERDICT_OPTIONS } from '../../app/verdict/options.ts';
import { AppError, Problems } from '../../core/errors.ts';
import { choice, list, type ResolvedOptions, readOptions, text, toggle } from '../../core/options.ts';
import type { ComparisonDocument } from '../../documents/comparison.ts';
import { statusOfComparison } from '../exit.ts';
import { addOptions, askedOf } from '../options.ts';
import {
  calledAs,
  DETAIL_OPTIONS,
  type DocumentForms,
  detailed,
  formOption,
  outputsOf,
  SHOWN_ZONE,
  writeOutputs,
} from '../output.ts';
import { terminal } from '../terminal.ts';

const OUTPUTS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
  markdown: formOption('--markdown [file]', 'write Markdown'),
};
const FORMS = ['html', 'markdown'] as const;
const VERDICT_OUTPUT = {
  with: list('--with <run...>', 'the runs of B, if each side has several: compare A1 A2 A3 --with B1 B2 B3'),
  ciReport: VERDICT_OPTIONS.ciReport,
  baseline: choice('--baseline <which>', 'compare with the last run of the same test that passed', [
    'last-pass',
  ]),
  history: text('--history <file>', 'history file (replay --history) to find the baseline in'),
  tz: SHOWN_ZONE,
};
const OPTIONS = { ...OUTPUTS, ...COMPARE_OPTIONS, ...VERDICT_OUTPUT, ...DETAIL_OPTIONS };

const COMMON = [
  ...(['with', 'baseline', 'history', 'floor', 'detect', 'allowDifferences'] as const),
  ...(['html', 'markdown', 'json', 'ciReport', 'verbose'] as const),
];

/** `reprise compare A B`: how B differs from A. */
export function compareCommand(): Command {
  return addOptions(new Command('compare'), OPTIONS, COMMON)
    .description(
      'Say whether B is better or worse than A: two runs, several runs of each side, a run and its recording, or two profiles.',
    )
    .argument(
      '<sides...>',
      'A and B: runs, captures or files written by profile --json; or the directory of a replay with two targets; with --baseline, B alone',
    )
    .action(async (names: string[], _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const outputs = outputsOf(readOptions(OUTPUTS, asked, problems), FORMS, problems);
      const { ciReport, history, tz, ...sides } = readOptions(VERDICT_OUTPUT, asked, problems);
      const detail = readOptions(DETAIL_OPTIONS, asked, problems);
      const options = resolveCompareOptions(asked, problems);
      makeReady({ ciReport, history: null });
      const document = await comparison(names, { ...sides, history }, options);
      const outcome = ciReportOfComparison(document, comparisonView(document, tz));
      terminal.note(...writeVerdict(outcome, { ciReport }, process.env));
      writeOutputs(comparisonForms(document, tz, detail), outputs, terminal);
      process.exitCode = statusOfComparison(document);
    });
}

/** @throws AppError OPTION_INVALID if it is unclear which names are A and which are B */
function comparison(
  names: readonly string[],
  { with: others, baseline, history }: Omit<ResolvedOptions<typeof VERDICT_OUTPUT>, 'ciReport' | 'tz'>,
  options: ReturnType<typeof resolveCompareOptions>,
): Promise<ComparisonDocument> {
  const [first = '', second, ...more] = names;
  if (baseline !== null && others.length === 0 && more.length === 0)
    return compareNamed(baselineOf(first, second, history), first, options);
  if (others.length > 0 && baseline === null) return compareNamed(names, others, options);
  if (second === undefined && isAlternation(first)) return comparePasses(first, options);
  if (second !== undefined && names.length === 2 && baseline === null)
    return compareNamed(first, second, options);
  const why = second === undefined ? 'there is nothing to compare it with' : 'it is unclear which runs are A';
  throw new AppError('OPTION_INVALID', why, {
    hint: 'Give two runs, captures or profiles; A1 A2 --with B1 B2; the directory of a replay with two targets; or --baseline last-pass with --history FILE.',
  });
}

/** @throws AppError OPTION_INVALID if it is unclear what to compare; INPUT_INVALID without a baseline */
function baselineOf(run: string, another: string | undefined, history: string | null): string {
  if (another === undefined && history !== null) return lastPassOf(run, history);
  const why = history === null ? 'needs --history' : 'takes the place of the first of two runs';
  throw new AppError('OPTION_INVALID', `--baseline ${why}`, {
    hint: 'Such as: reprise compare RUN --baseline last-pass --history history.sqlite.',
  });
}

/** A comparison in each of its forms. */
export function comparisonForms(
  document: ComparisonDocument,
  timeZone = 'UTC',
  detail: ResolvedOptions<typeof DETAIL_OPTIONS> = { quiet: false, verbose: true },
): DocumentForms<(typeof FORMS)[number]> {
  const view = comparisonView(document, timeZone, calledAs());
  return {
    json: document,
    text: () =>
      detailed(detail, {
        verdict: () => verdictLines(view),
        screen: () => comparisonScreen(document, view, timeZone),
        all: () => viewText(view),
      }),
    rendered: {
      html: { called: 'page', render: () => comparisonPage(document, pageAssets(), timeZone) },
      markdown: { called: 'Markdown', render: () => viewMarkdown(view) },
    },
  };
}
