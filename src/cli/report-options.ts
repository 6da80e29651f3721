import { Problems } from '../core/problems.ts';

/** What was asked for, as it stands on the command line, in the environment or in a file. */
export interface RawReportOptions {
  readonly json?: boolean | undefined;
  /** A file; `true` where none is named, for stdout. */
  readonly html?: string | boolean | undefined;
  readonly markdown?: string | boolean | undefined;
  readonly capture?: string | undefined;
}

/** Where a form of the report goes: a file, or stdout where the path is null. */
export interface ReportOutput {
  readonly form: 'text' | 'json' | 'html' | 'markdown';
  readonly path: string | null;
}

export interface ReportOptions {
  /** The capture that holds the recorded answers; null for the one the run names. */
  readonly capture: string | null;
  readonly outputs: readonly ReportOutput[];
}

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveReportOptions(raw: RawReportOptions): ReportOptions {
  const problems = new Problems();
  const outputs: ReportOutput[] = [];
  if (raw.json ?? false) outputs.push({ form: 'json', path: null });
  for (const form of ['html', 'markdown'] as const) {
    const where = raw[form];
    if (where === undefined || where === false) continue;
    outputs.push({ form, path: typeof where === 'string' ? where : null });
  }
  const onStdout = outputs.filter(({ path }) => path === null);
  if (onStdout.length > 1) {
    problems.add(
      `${onStdout.map(({ form }) => `--${form}`).join(' and ')} would both be printed: name a file for all but one`,
    );
  }
  const paths = outputs.flatMap(({ path }) => path ?? []);
  if (new Set(paths).size < paths.length) problems.add('--html and --markdown name the same file');
  problems.throwIfAny();
  return {
    capture: raw.capture ?? null,
    outputs: onStdout.length === 0 ? [{ form: 'text', path: null }, ...outputs] : outputs,
  };
}
