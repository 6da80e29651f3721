import { Problems } from '../core/errors.ts';
import { type DocumentOutput, outputsOf, type RawOutputs } from './document-outputs.ts';

/** What was asked for, as it stands on the command line, in the environment or in a file. */
export interface RawReportOptions extends RawOutputs<ReportForm> {
  readonly capture?: string | undefined;
}

const REPORT_FORMS = ['html', 'markdown'] as const;
export type ReportForm = (typeof REPORT_FORMS)[number];

export interface ReportOptions {
  /** The capture that holds the recorded answers; null for the one the run names. */
  readonly capture: string | null;
  readonly outputs: readonly DocumentOutput<ReportForm>[];
}

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveReportOptions(raw: RawReportOptions): ReportOptions {
  const problems = new Problems();
  const outputs = outputsOf(raw, REPORT_FORMS, problems);
  problems.throwIfAny();
  return { capture: raw.capture ?? null, outputs };
}
