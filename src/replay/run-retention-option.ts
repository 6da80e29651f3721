import { AppError } from '../core/errors.ts';
import { parsePositiveMs } from '../core/units.ts';

/** Which older runs stay beside a new one. */
export type RunsRetained =
  | { readonly kind: 'count'; readonly runs: number }
  | { readonly kind: 'age'; readonly ms: number };

const HINT = 'Give a number from 1, such as 20, or a time, such as 30d.';

/**
 * Reads `20` (so many runs, the new one among them) or `30d` (those that ended within).
 * @throws AppError OPTION_INVALID
 */
export function parseRetainRuns(text: string): RunsRetained {
  if (/^\s*\d+\s*$/.test(text)) {
    const runs = Number(text);
    if (Number.isSafeInteger(runs) && runs >= 1) return { kind: 'count', runs };
    throw new AppError('OPTION_INVALID', `--retain-runs: ${text.trim()} would not even keep the new run`, {
      hint: HINT,
    });
  }
  if (/^\s*\d/.test(text)) return { kind: 'age', ms: parsePositiveMs(text, '--retain-runs') };
  throw new AppError(
    'OPTION_INVALID',
    `--retain-runs: ${JSON.stringify(text)} is neither a number of runs nor a time`,
    { hint: HINT },
  );
}
