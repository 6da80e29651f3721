import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import type { Send } from '../core/run.ts';
import { formatInstantUs } from '../core/units.ts';
import { sqliteCode } from '../storage/capture/sqlite.ts';
import type { RunReader } from '../storage/runs/reader.ts';
import { RUN_SUMMARY } from '../storage/runs/schema.ts';

/** An id that sorts by time. The random part keeps two runs of one second apart. */
export function newRunId(): string {
  const time = formatInstantUs(systemClock.epochUs()).slice(0, 19).replaceAll(/[-:]/g, '');
  return `${time}Z-${randomBytes(3).toString('hex')}`;
}

/** Reads the rows of a run. @throws AppError INPUT_INVALID at a damaged row */
export function* sendsOf(
  directory: string,
  reader: RunReader,
  order: 'plan' | 'due' = 'plan',
): Generator<Send> {
  try {
    yield* reader.sends(order);
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

/** The directory of a pass of two alternated targets: its place in the order, and its side. */
const PASS = /^\d+-([AB])$/;

export function passName(place: number, side: 'A' | 'B'): string {
  return `${String(place).padStart(2, '0')}-${side}`;
}

/** Whether a directory is that of a replay with two targets. */
export function isAlternation(name: string): boolean {
  return (
    statSync(name, { throwIfNoEntry: false })?.isDirectory() === true &&
    readdirSync(name).some((each) => PASS.test(each))
  );
}

/**
 * The runs of both sides of a replay with two targets, in order: as many of each as both have. A pass that was not
 * sealed did not end.
 * @throws AppError INPUT_INVALID if a side has none
 */
export function passesIn(directory: string): {
  readonly a: readonly string[];
  readonly b: readonly string[];
} {
  const order = (name: string) => Number.parseInt(name, 10);
  const sealed = readdirSync(directory)
    .filter((name) => PASS.test(name) && existsSync(join(directory, name, RUN_SUMMARY)))
    .sort((one, other) => order(one) - order(other));
  const of = (side: string) =>
    sealed.filter((name) => name.endsWith(side)).map((name) => join(directory, name));
  const [a, b] = [of('A'), of('B')];
  const both = Math.min(a.length, b.length);
  if (both > 0) return { a: a.slice(0, both), b: b.slice(0, both) };
  throw new AppError('INPUT_INVALID', `${directory} has no ended run of ${a.length === 0 ? 'A' : 'B'}`, {
    hint: 'The replay was stopped before both targets had a run: replay again.',
  });
}
