import { Problems } from '../core/errors.ts';
import { type Asked, type ResolvedOptions, readOptions, text } from '../core/options.ts';

export const REPORT_OPTIONS = {
  capture: text(
    '--capture <directory>',
    'the capture that was replayed, for its own latency (default: where the run says it lay)',
  ),
};

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveReportOptions(
  asked: Asked<typeof REPORT_OPTIONS>,
  problems = new Problems(),
): ResolvedOptions<typeof REPORT_OPTIONS> {
  const options = readOptions(REPORT_OPTIONS, asked, problems);
  problems.throwIfAny();
  return options;
}
