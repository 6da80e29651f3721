import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, realpathSync, renameSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { AppError, reasonOf } from '../core/errors.ts';
import { isMissing, syncPath } from '../storage/durable-files.ts';
import { discard } from './discard.ts';
import { NewParents } from './new-parents.ts';

/**
 * A directory that is built beside its final place and takes that place whole: whoever looks there finds
 * nothing or everything.
 */
export class StagedDirectory {
  /** Where to build. */
  readonly path: string;
  /** Where it will be. */
  readonly destination: string;
  readonly #parents: NewParents;

  /**
   * Makes the directory to build in (0700), and those above it that are missing.
   * @throws AppError OUTPUT_EXISTS when something is in the place already (an empty directory is not), or
   * OUTPUT_UNWRITABLE.
   */
  constructor(destination: string, doing: string) {
    this.destination = freePlace(destination);
    this.path = `${this.destination}.${doing}-${randomBytes(4).toString('hex')}`;
    try {
      this.#parents = new NewParents(dirname(this.destination));
    } catch (thrown) {
      throw unwritable(destination, thrown);
    }
    try {
      mkdirSync(this.path, { mode: 0o700 });
    } catch (thrown) {
      this.#parents.remove();
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
      this.#parents.sync();
    } catch (thrown) {
      throw unwritable(this.destination, thrown);
    }
  }

  /** Takes away what was built, as if nothing had happened. */
  discard(): void {
    discard(this.path);
    this.#parents.remove();
  }
}

/** The real path of a place that is free: missing, or an empty directory. */
function freePlace(path: string): string {
  let entries: string[];
  const absolute = resolve(path);
  try {
    entries = readdirSync(absolute);
  } catch (thrown) {
    if (isMissing(thrown)) return absolute;
    if ((thrown as NodeJS.ErrnoException).code === 'ENOTDIR' && existsSync(absolute))
      throw exists(path, 'is a file');
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
    hint: 'Name a place that this user may write to.',
    cause,
  });
}
