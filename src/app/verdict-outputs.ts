import { appendFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type CiReport, githubReport, junitXml, openMetrics } from '../analysis/verdict/ci-report.ts';
import { grouped, listOf, type ResolvedOptions, text } from '../core/options.ts';
import { LogCommand } from '../core/text.ts';
import { refused } from '../core/units.ts';
import { assertHistory, KEEP_OPTIONS, keepInHistory } from './history.ts';
import { clearFile, writeWhole, writingTo } from './staged-output.ts';

/** Verdict formats that a pipeline reads from a file. */
const FILES = { junit: junitXml, gitlab: openMetrics } as const;
const FORMS = 'junit=FILE, gitlab=FILE or github';

/** A verdict format for a pipeline, and its file. GitHub names its files itself. */
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

/** The outputs of a verdict besides the printed text. */
export type VerdictRequest = ResolvedOptions<typeof VERDICT_OPTIONS>;

/**
 * Called before a test begins: checks the output files, and removes those of an earlier verdict.
 * @throws AppError OUTPUT_UNWRITABLE if the directory of a file is missing; INPUT_INVALID if the history file is none
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
 * Writes a CI report in each requested format.
 * @returns lines for the log: the written files, and GitHub's annotations
 * @throws AppError OUTPUT_UNWRITABLE
 */
export function writeVerdict(
  report: CiReport,
  { ciReport }: Pick<VerdictRequest, 'ciReport'>,
  environment: StepFiles | NodeJS.ProcessEnv,
): (string | LogCommand)[] {
  return ciReport.flatMap((each): (string | LogCommand)[] => {
    if (each.form === 'github') return tellGithub(report, environment);
    writeWhole(resolve(each.file), FILES[each.form](report));
    return [`${each.form} written to ${each.file}`];
  });
}

/**
 * Writes the verdict of the run in `directory`, and adds its figures to the history. @returns and throws like
 * `writeVerdict`
 */
export function deliverVerdict(
  report: CiReport,
  directory: string,
  request: VerdictRequest,
): (string | LogCommand)[] {
  // The verdict comes first, so that a pipeline still gets it if the history cannot be written.
  return [...writeVerdict(report, request, process.env), ...keepInHistory(report, directory, request)];
}

/** Appends to the files of the step, because its other commands also write to them. */
function tellGithub(report: CiReport, environment: StepFiles | NodeJS.ProcessEnv): LogCommand[] {
  const { annotations, summary, outputs } = githubReport(report);
  const append = (file: string | undefined, text: string) => {
    if (file) writingTo(file, () => appendFileSync(file, text));
  };
  append(environment['GITHUB_STEP_SUMMARY'], summary);
  append(environment['GITHUB_OUTPUT'], outputs);
  return annotations.map((each) => new LogCommand(each));
}
