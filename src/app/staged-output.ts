import { randomBytes } from 'node:crypto';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { AppError, reasonOf } from '../core/errors.ts';
import { isMissing, syncPath } from '../storage/capture/directory.ts';

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
    hint: 'Give a directory that does not exist yet; reprise never overwrites.',
  });
}

function unwritable(path: string, cause: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `${path} cannot be written: ${reasonOf(cause)}`, {
    hint: 'Give a path that this user can write to.',
    cause,
  });
}

/** How file systems say that they have no hard links. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** A file that is written beside its final place and takes that place whole, where nothing is. */
export class StagedFile {
  /** Path to write to; the writer creates it. */
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
      throw stagedFileUnwritable(destination, thrown);
    }
    if (taken) throw stagedFileExists(destination);
    this.path = `${this.destination}.${doing}-${randomBytes(4).toString('hex')}`;
  }

  /** Puts what was written into its place. */
  publish(): void {
    try {
      this.#take();
      syncPath(dirname(this.destination));
    } catch (thrown) {
      if (thrown instanceof AppError) throw thrown;
      if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') throw stagedFileExists(this.destination);
      throw stagedFileUnwritable(this.destination, thrown);
    }
  }

  /** A link is refused where something is; a rename would take its place, so it is for where there are no links. */
  #take(): void {
    try {
      linkSync(this.path, this.destination);
      rmSync(this.path);
    } catch (thrown) {
      if (!NO_LINKS.has((thrown as NodeJS.ErrnoException).code ?? '')) throw thrown;
      if (statSync(this.destination, { throwIfNoEntry: false }) !== undefined)
        throw stagedFileExists(this.destination);
      renameSync(this.path, this.destination);
    }
  }

  /** Takes away what was written, as if nothing had happened. */
  discard(): void {
    discard(this.path);
  }
}

function stagedFileExists(path: string): AppError {
  return new AppError('OUTPUT_EXISTS', `${path} is there already`, {
    hint: 'Give a file that does not exist yet; reprise never overwrites.',
  });
}

function stagedFileUnwritable(path: string, cause: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `${path} cannot be written: ${reasonOf(cause)}`, {
    hint: 'Its parent directory must exist and be writable for this user.',
    cause,
  });
}

/** The directories that had to be made (0700) so that something can lie in the innermost of them. */
export class NewParents {
  /** Outermost first. */
  readonly #made: string[] = [];

  /** @throws what the file system says where one cannot be made; none is left then */
  constructor(innermost: string) {
    try {
      for (const path of missingUpTo(innermost)) {
        // What somebody else made meanwhile is not ours to take away.
        if (mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined) this.#made.push(path);
      }
    } catch (thrown) {
      this.remove();
      throw thrown;
    }
  }

  /** Makes them last, once something lies in them. */
  sync(): void {
    for (const path of this.#made) syncPath(dirname(path));
  }

  /** Removes them again if they are still empty. */
  remove(): void {
    for (const path of this.#made.splice(0).reverse()) {
      try {
        rmdirSync(path);
      } catch {
        return;
      }
    }
  }
}

/** Outermost first. */
function missingUpTo(innermost: string): string[] {
  const missing: string[] = [];
  for (let path = innermost; statSync(path, { throwIfNoEntry: false }) === undefined; path = dirname(path)) {
    missing.unshift(path);
  }
  return missing;
}

/**
 * Takes away what a failure left half made. Never throws: what failed before is what is to be told, and of a path that
 * leads through a file the file system will not even say that nothing is there.
 */
export function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // It keeps its own name beside its final path, and blocks nothing.
  }
}

/**
 * A file is there whole or not at all; one of that name is replaced, as a report of a pipeline is each night.
 * @throws AppError OUTPUT_UNWRITABLE
 */
export function writeWhole(path: string, text: string): void {
  const building = `${path}.${randomBytes(4).toString('hex')}.part`;
  try {
    const there = statSync(path, { throwIfNoEntry: false });
    if (there !== undefined && !there.isFile()) throw new Error('something that is no file lies there');
    writeFileSync(building, text, { flag: 'wx' });
    renameSync(building, path);
  } catch (cause) {
    discard(building);
    throw new AppError('OUTPUT_UNWRITABLE', `${path} cannot be written: ${reasonOf(cause)}`, {
      hint: 'Its parent directory must exist and be writable for this user.',
      cause,
    });
  }
}
