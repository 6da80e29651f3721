import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { AppError, reasonOf } from '../core/errors.ts';
import { syncPath } from '../storage/durable-files.ts';

/**
 * A directory that is built beside its final place and takes that place whole: whoever looks there finds
 * nothing or everything.
 */
export class StagedDirectory {
  /** Where to build. */
  readonly path: string;
  /** Where it will be. */
  readonly destination: string;

  /**
   * Makes the directory to build in (0700).
   * @throws AppError OUTPUT_EXISTS when something is in the place already (an empty directory is not), or
   * OUTPUT_UNWRITABLE.
   */
  constructor(destination: string, doing: string) {
    this.destination = freePlace(destination);
    this.path = `${this.destination}.${doing}-${randomBytes(4).toString('hex')}`;
    try {
      mkdirSync(this.path, { mode: 0o700 });
    } catch (thrown) {
      throw unwritable(destination, thrown);
    }
  }

  /** Puts what was built into its place. */
  publish(): void {
    // Looked at again: what came while we were building belongs to somebody.
    freePlace(this.destination);
    try {
      renameSync(this.path, this.destination);
      syncPath(dirname(this.destination));
    } catch (thrown) {
      throw unwritable(this.destination, thrown);
    }
  }

  /** Takes away what was built, as if nothing had happened. */
  discard(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** The real path of a place that is free: missing, or an empty directory. */
function freePlace(path: string): string {
  let entries: string[];
  const absolute = resolve(path);
  try {
    const parent = statSync(dirname(absolute));
    if (!parent.isDirectory()) throw new Error(`${dirname(absolute)} is no directory`);
    if (statSync(absolute, { throwIfNoEntry: false }) === undefined) return absolute;
    entries = readdirSync(absolute);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOTDIR') throw exists(path, 'is a file');
    throw unwritable(path, thrown);
  }
  if (entries.length > 0) throw exists(path, 'is not empty');
  return realpathSync(absolute);
}

function exists(path: string, how: string): AppError {
  return new AppError('OUTPUT_EXISTS', `${path} ${how}`, {
    hint: 'Name a directory that does not exist yet; nothing is ever overwritten.',
  });
}

function unwritable(path: string, cause: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `${path} cannot be written: ${reasonOf(cause)}`, {
    hint: 'The directory it lies in must exist and be writable for this user.',
    cause,
  });
}
