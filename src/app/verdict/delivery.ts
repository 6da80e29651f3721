import { appendFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type CiReport, githubReport, junitXml, openMetrics } from '../../analysis/verdict/ci-report.ts';
import { LogCommand } from '../../core/text.ts';
import { keepInHistory } from '../history.ts';
import { writeWhole, writingTo } from '../staged-output.ts';
import type { VerdictRequest } from './options.ts';

const FILES = { junit: junitXml, gitlab: openMetrics };

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
