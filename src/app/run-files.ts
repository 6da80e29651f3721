import { randomBytes } from 'node:crypto';
import { systemClock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import type { Send } from '../core/run.ts';
import { formatInstantUs } from '../core/units.ts';
import { sqliteCode } from '../storage/capture/sqlite.ts';
import type { RunReader } from '../storage/runs/reader.ts';

/** An id that sorts by time. The random part keeps two runs of one second apart. */
export function newRunId(): string {
  const time = formatInstantUs(systemClock.epochUs()).slice(0, 19).replaceAll(/[-:]/g, '');
  return `${time}Z-${randomBytes(3).toString('hex')}`;
}

/** Reads the rows of a run. @throws AppError INPUT_INVALID at a damaged row */
export function* sendsOf(directory: string, reader: RunReader): Generator<Send> {
  try {
    yield* reader.sends();
  } catch (thrown) {
    throw damagedRows(directory, thrown);
  }
}

/**
 * Refuses rows that were changed, lost or exchanged after the run, because the verdict would concern other data.
 * @param differences the result of `rowDifferences`
 * @throws AppError INPUT_INVALID if there are any
 */
export function assertOwnRows(directory: string, differences: readonly string[]): void {
  if (differences.length === 0) return;
  throw new AppError(
    'INPUT_INVALID',
    `the rows of the run ${directory} do not match its summary: ${differences.join('; ')}`,
    { hint: 'Its files were changed or damaged after it ended: restore the directory, or replay again.' },
  );
}

/** Converts an error of reading a run's rows into one about a damaged file. Other errors are returned unchanged. */
export function damagedRows(directory: string, thrown: unknown): unknown {
  if (thrown instanceof AppError) return thrown;
  if (sqliteCode(thrown) === null && !(thrown instanceof RangeError)) return thrown;
  return new AppError('INPUT_INVALID', `the run ${directory} is damaged: ${reasonOf(thrown)}`, {
    hint: 'Restore its run.sqlite from a backup, or replay again.',
    cause: thrown,
  });
}
