import { AppError } from '../core/errors.ts';
import type { Send } from '../core/run.ts';
import type { RunReader } from '../storage/runs/reader.ts';
import { damagedRows } from './run-damage.ts';

/** Rows of a run as far as they can be read. @throws AppError INPUT_INVALID where they are damaged */
export function* sendsOf(directory: string, reader: RunReader): Generator<Send> {
  try {
    yield* reader.sends();
  } catch (thrown) {
    throw damagedRows(directory, thrown);
  }
}

/**
 * A verdict on rows that were changed, lost or swapped after the run would be one on something else.
 * @param differences as `rowDifferences` has them
 * @throws AppError INPUT_INVALID where there are any
 */
export function assertOwnRows(directory: string, differences: readonly string[]): void {
  if (differences.length === 0) return;
  throw new AppError(
    'INPUT_INVALID',
    `the rows of the run ${directory} are not those of its summary: ${differences.join('; ')}`,
    { hint: 'Its files were changed or damaged after it ended: restore the directory, or replay again.' },
  );
}
