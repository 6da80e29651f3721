import { Problems } from '../core/errors.ts';
import { type Asked, readOptions, text, toggle } from '../core/options.ts';
import { type DocumentOutput, formOption, outputsOf } from './document-outputs.ts';

export const REPORT_OPTIONS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
  markdown: formOption('--md, --markdown [file]', 'write it as Markdown'),
  capture: text(
    '--capture <directory>',
    'the capture that was replayed, for its own latency (default: where the run says it lay)',
  ),
};

const REPORT_FORMS = ['html', 'markdown'] as const;
export type ReportForm = (typeof REPORT_FORMS)[number];

export interface ReportOptions {
  /** The capture that holds the recorded answers; null for the one the run names. */
  readonly capture: string | null;
  readonly outputs: readonly DocumentOutput<ReportForm>[];
}

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveReportOptions(asked: Asked<typeof REPORT_OPTIONS>): ReportOptions {
  const problems = new Problems();
  const raw = readOptions(REPORT_OPTIONS, asked, problems);
  const outputs = outputsOf(raw, REPORT_FORMS, problems);
  problems.throwIfAny();
  return { capture: raw.capture, outputs };
}
