import { randomBytes } from 'node:crypto';
import { linkSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { AppError, reasonOf } from '../core/errors.ts';
import { syncPath } from '../storage/durable-files.ts';
import { discard } from './discard.ts';

/** How file systems say that they have no hard links. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** A file that is written beside its final place and takes that place whole, where nothing is. */
export class StagedFile {
  /** Where to write; to be made by whoever does. */
  readonly path: string;
  /** Where it will be. */
  readonly destination: string;

  /** @throws AppError OUTPUT_EXISTS, OUTPUT_UNWRITABLE */
  constructor(destination: string, doing: string) {
    this.destination = resolve(destination);
    let taken: boolean;
    try {
      if (!statSync(dirname(this.destination)).isDirectory()) throw new Error('it lies in no directory');
      taken = statSync(this.destination, { throwIfNoEntry: false }) !== undefined;
    } catch (thrown) {
      throw unwritable(destination, thrown);
    }
    if (taken) throw exists(destination);
    this.path = `${this.destination}.${doing}-${randomBytes(4).toString('hex')}`;
  }

  /** Puts what was written into its place. */
  publish(): void {
    try {
      this.#take();
      syncPath(dirname(this.destination));
    } catch (thrown) {
      if (thrown instanceof AppError) throw thrown;
      if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') throw exists(this.destination);
      throw unwritable(this.destination, thrown);
    }
  }

  /** A link is refused where something is; a rename would take its place, so it is for where there are no links. */
  #take(): void {
    try {
      linkSync(this.path, this.destination);
      rmSync(this.path);
    } catch (thrown) {
      if (!NO_LINKS.has((thrown as NodeJS.ErrnoException).code ?? '')) throw thrown;
      if (statSync(this.destination, { throwIfNoEntry: false }) !== undefined) throw exists(this.destination);
      renameSync(this.path, this.destination);
    }
  }

  /** Takes away what was written, as if nothing had happened. */
  discard(): void {
    discard(this.path);
  }
}

function exists(path: string): AppError {
  return new AppError('OUTPUT_EXISTS', `${path} is there already`, {
    hint: 'Name a file that does not exist yet; nothing is ever overwritten.',
  });
}

function unwritable(path: string, cause: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `${path} cannot be written: ${reasonOf(cause)}`, {
    hint: 'The directory it lies in must exist and be writable for this user.',
    cause,
  });
}
