import { randomBytes } from 'node:crypto';
import {
  existsSync,
  linkSync,
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
import { isMissing, makeDirectories, syncPath } from '../storage/capture/directory.ts';

/** Writes an output. @throws AppError OUTPUT_UNWRITABLE for an error of the file system */
export function writingTo<T>(path: string, write: () => T): T {
  try {
    return write();
  } catch (thrown) {
    if (thrown instanceof AppError || !(thrown instanceof Error) || !('syscall' in thrown)) throw thrown;
    throw unwritable(path, reasonOf(thrown), thrown);
  }
}

function unwritable(path: string, why: string, cause?: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `${path} cannot be written: ${why}`, {
    hint: 'Give a path that this user can write to, on a disk with free space. A file needs its directory.',
    cause,
  });
}

function exists(path: string, how: string): AppError {
  return new AppError('OUTPUT_EXISTS', `${path} ${how}`, {
    hint: 'Give a path that does not exist yet; reprise never overwrites.',
  });
}

/** A path beside an output, to build it at. */
function buildingPath(destination: string, doing: string): string {
  return `${destination}.${doing}-${randomBytes(4).toString('hex')}`;
}

/**
 * A directory that is built beside its final place and then renamed to it, so a reader finds nothing or everything.
 */
export class StagedDirectory {
  /** Where to build. */
  readonly path: string;
  /** Where it will be. */
  readonly destination: string;
  /** The directories above it that are missing, innermost first. */
  readonly #parents: readonly string[];

  /**
   * Makes the directory to build in (0700), and those above it that are missing.
   * @throws AppError OUTPUT_EXISTS when something is in the place already (an empty directory is not), or
   * OUTPUT_UNWRITABLE.
   */
  constructor(destination: string, doing: string) {
    this.destination = freePlace(destination);
    this.path = buildingPath(this.destination, doing);
    this.#parents = missingAbove(this.destination);
    try {
      writingTo(destination, () => makeDirectories(this.path, 0o700));
    } catch (thrown) {
      this.discard();
      throw thrown;
    }
  }

  /** Puts what was built into its place. */
  publish(): void {
    // Checked again: a file that appeared during the build is not ours.
    freePlace(this.destination);
    writingTo(this.destination, () => {
      renameSync(this.path, this.destination);
      for (const path of [this.destination, ...this.#parents]) syncPath(dirname(path));
    });
  }

  /** Takes away what was built, and the directories above it unless somebody uses them by now. */
  discard(): void {
    discard(this.path);
    for (const parent of this.#parents) {
      try {
        rmdirSync(parent);
      } catch {
        // It is in use, or was never made.
      }
    }
  }
}

/** The real path of a place that is free: missing, or an empty directory. */
function freePlace(path: string): string {
  const absolute = resolve(path);
  try {
    if (readdirSync(absolute).length > 0) throw exists(path, 'is not empty');
    return realpathSync(absolute);
  } catch (thrown) {
    if (thrown instanceof AppError) throw thrown;
    if (isMissing(thrown)) return absolute;
    if (existsSync(absolute) && !statSync(absolute).isDirectory()) throw exists(path, 'is a file');
    throw unwritable(path, reasonOf(thrown), thrown);
  }
}

function missingAbove(path: string): string[] {
  const missing: string[] = [];
  for (let parent = dirname(path); !existsSync(parent); parent = dirname(parent)) missing.push(parent);
  return missing;
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
    this.path = buildingPath(this.destination, doing);
    assertDirectoryOf(destination);
    writingTo(destination, () => {
      assertNothingAt(this.destination);
    });
  }

  /** Puts what was written into its place. */
  publish(): void {
    writingTo(this.destination, () => {
      this.#take();
      syncPath(dirname(this.destination));
    });
  }

  /** A link is refused where something is; a rename would take its place, so it is for where there are no links. */
  #take(): void {
    try {
      linkSync(this.path, this.destination);
      rmSync(this.path);
    } catch (thrown) {
      const code = (thrown as NodeJS.ErrnoException).code ?? '';
      if (code !== 'EEXIST' && !NO_LINKS.has(code)) throw thrown;
      assertNothingAt(this.destination);
      renameSync(this.path, this.destination);
    }
  }

  /** Takes away what was written, as if nothing had happened. */
  discard(): void {
    discard(this.path);
  }
}

/** @throws AppError OUTPUT_UNWRITABLE where a file would lie in no directory */
function assertDirectoryOf(path: string): void {
  writingTo(path, () => {
    if (!statSync(dirname(resolve(path))).isDirectory()) throw unwritable(path, 'it lies in no directory');
  });
}

function assertNothingAt(path: string): void {
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) throw exists(path, 'is there already');
}

/**
 * Removes half-made output after a failure. Never throws, because the first failure is the one to report. For a path
 * that leads through a file, the file system gives an error even though nothing is there.
 */
function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // It keeps its own name beside its final path, and blocks nothing.
  }
}

/**
 * Asserts that a file can be written whole, and removes one of that name: what comes to nothing must not leave the file
 * of an earlier run, which would be taken for its own.
 * @throws AppError OUTPUT_UNWRITABLE
 */
export function clearFile(path: string): void {
  assertWritable(path);
  writingTo(path, () => rmSync(path, { force: true }));
}

/** Asserts that a file can be written whole, by one beside it that goes at once. @throws AppError OUTPUT_UNWRITABLE */
export function assertWritable(path: string): void {
  assertDirectoryOf(path);
  const building = buildingPath(path, 'trying');
  writingTo(path, () => {
    assertNoOtherAt(path);
    writeFileSync(building, '', { flag: 'wx' });
    rmSync(building);
  });
}

function assertNoOtherAt(path: string): void {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there !== undefined && !there.isFile()) throw unwritable(path, 'something that is no file lies there');
}

/**
 * A file is there whole or not at all; one of that name is replaced, as a report of a pipeline is each night.
 * @throws AppError OUTPUT_UNWRITABLE
 */
export function writeWhole(path: string, text: string): void {
  const building = buildingPath(path, 'writing');
  try {
    writingTo(path, () => {
      assertNoOtherAt(path);
      writeFileSync(building, text, { flag: 'wx' });
      renameSync(building, path);
    });
  } catch (thrown) {
    discard(building);
    throw thrown;
  }
}
