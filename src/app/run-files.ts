import { randomBytes } from 'node:crypto';
import { systemClock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import type { Send } from '../core/run.ts';
import { formatInstantUs } from '../core/units.ts';
import { sqliteCode } from '../storage/capture/sqlite.ts';
import type { RunReader } from '../storage/runs/reader.ts';

/** Sorts by time, and two runs of one second differ. */
export function newRunId(): string {
  const time = formatInstantUs(systemClock.epochUs()).slice(0, 19).replaceAll(/[-:]/g, '');
  return `${time}Z-${randomBytes(3).toString('hex')}`;
}

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
    `the rows of the run ${directory} do not match its summary: ${differences.join('; ')}`,
    { hint: 'Its files were changed or damaged after it ended: restore the directory, or replay again.' },
  );
}

/** What reading the rows of a run threw, as damage of its file; everything else as it is. */
export function damagedRows(directory: string, thrown: unknown): unknown {
  if (thrown instanceof AppError) return thrown;
  if (sqliteCode(thrown) === null && !(thrown instanceof RangeError)) return thrown;
  return new AppError('INPUT_INVALID', `the run ${directory} is damaged: ${reasonOf(thrown)}`, {
    hint: 'Restore its run.sqlite from a backup, or replay again.',
    cause: thrown,
  });
}
