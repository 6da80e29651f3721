import { AppError, reasonOf } from '../core/errors.ts';
import { sqliteCode } from '../storage/capture/sqlite.ts';

/** What reading the rows of a run threw, as damage of its file; everything else as it is. */
export function damagedRows(directory: string, thrown: unknown): unknown {
  if (thrown instanceof AppError) return thrown;
  if (sqliteCode(thrown) === null && !(thrown instanceof RangeError)) return thrown;
  return new AppError('INPUT_INVALID', `the run ${directory} is damaged: ${reasonOf(thrown)}`, {
    hint: 'Restore its run.sqlite from where it was kept, or replay again.',
    cause: thrown,
  });
}
