import { appendFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { githubReport, junitXml, type Outcome, openMetrics } from '../analysis/outcome/outcome.ts';
import { grouped, listOf, type ResolvedOptions, text } from '../core/options.ts';
import { LogCommand } from '../core/text.ts';
import { refused } from '../core/units.ts';
import { assertHistory, KEEP_OPTIONS, keepInHistory } from './history.ts';
import { clearFile, writeWhole, writingTo } from './staged-output.ts';

/** Forms of a verdict that a pipeline reads from a file. */
const FILES = { junit: junitXml, gitlab: openMetrics } as const;
const FORMS = 'junit=FILE, gitlab=FILE or github';

/** A form of a verdict for a pipeline, and the file that takes it. GitHub names its files itself. */
type VerdictOutput =
  | { readonly form: keyof typeof FILES; readonly file: string }
  | { readonly form: 'github' };

export const VERDICT_OPTIONS = grouped('Where the run is kept', {
  name: text('--name <text>', 'name of the test, equal for all runs that belong together'),
  ...KEEP_OPTIONS,
  ciReport: listOf('--ci-report <form>', `write the verdict for a pipeline: ${FORMS}`, parseVerdictOutput),
});

function parseVerdictOutput(stated: string, what: string): VerdictOutput {
  if (stated === 'github') return { form: 'github' };
  const [form = '', ...rest] = stated.split('=');
  const file = rest.join('=');
  if (!Object.hasOwn(FILES, form) || file === '') {
    throw refused(what, stated, `is not ${FORMS}`, 'Such as --ci-report junit=verdict.xml.');
  }
  return { form: form as keyof typeof FILES, file };
}

/** How a verdict is told besides being printed. */
export type VerdictRequest = ResolvedOptions<typeof VERDICT_OPTIONS>;

/**
 * Before a test begins: finds a slip in the name of a file, and removes the files of an earlier verdict.
 * @throws AppError OUTPUT_UNWRITABLE where the directory of a file is missing; INPUT_INVALID for what is no history
 */
export function makeReady({ ciReport, history }: Pick<VerdictRequest, 'ciReport' | 'history'>): void {
  if (history !== null) assertHistory(history);
  for (const each of ciReport) {
    if (each.form !== 'github') clearFile(resolve(each.file));
  }
}

/** The files that GitHub Actions names for a step. */
type StepFiles = Readonly<Record<'GITHUB_STEP_SUMMARY' | 'GITHUB_OUTPUT', string | undefined>>;

/**
 * Writes an outcome in each form that was asked for.
 * @returns lines for the log: where each went, and GitHub's annotations
 * @throws AppError OUTPUT_UNWRITABLE
 */
export function writeVerdict(
  outcome: Outcome,
  { ciReport }: Pick<VerdictRequest, 'ciReport'>,
  environment: StepFiles | NodeJS.ProcessEnv,
): (string | LogCommand)[] {
  return ciReport.flatMap((each): (string | LogCommand)[] => {
    if (each.form === 'github') return tellGithub(outcome, environment);
    writeWhole(resolve(each.file), FILES[each.form](outcome));
    return [`${each.form} written to ${each.file}`];
  });
}

/** Tells the verdict of a run that is kept in `directory`, and keeps its figures. @returns and throws like `writeVerdict` */
export function deliverVerdict(
  outcome: Outcome,
  directory: string,
  request: VerdictRequest,
): (string | LogCommand)[] {
  // A history that cannot be written to must not cost a pipeline its verdict.
  return [...writeVerdict(outcome, request, process.env), ...keepInHistory(outcome, directory, request)];
}

/** Files of a step are appended to: other commands of the step write into them as well. */
function tellGithub(outcome: Outcome, environment: StepFiles | NodeJS.ProcessEnv): LogCommand[] {
  const { annotations, summary, outputs } = githubReport(outcome);
  const append = (file: string | undefined, text: string) => {
    if (file) writingTo(file, () => appendFileSync(file, text));
  };
  append(environment['GITHUB_STEP_SUMMARY'], summary);
  append(environment['GITHUB_OUTPUT'], outputs);
  return annotations.map((each) => new LogCommand(each));
}
