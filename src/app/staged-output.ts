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
    hint: 'Give a path that does not exist yet; Reprise never overwrites.',
  });
}

/** A path beside an output, used while it is built. */
function buildingPath(destination: string, doing: string): string {
  return `${destination}.${doing}-${randomBytes(4).toString('hex')}`;
}

/**
 * A directory that is built beside its final place and then renamed to it, so a reader finds nothing or everything.
 */
export class StagedDirectory {
  /** The path to build at. */
  readonly path: string;
  /** The final path. */
  readonly destination: string;
  /** Missing directories above the final path, innermost first. */
  readonly #parents: readonly string[];

  /**
   * Creates the directory to build in (0700) and missing directories above it.
   * @throws AppError OUTPUT_EXISTS if something other than an empty directory is there, or OUTPUT_UNWRITABLE
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

  /** Moves the finished directory to its final path. */
  publish(): void {
    // Checked again, so that a file that appeared during the build is not replaced.
    freePlace(this.destination);
    writingTo(this.destination, () => {
      renameSync(this.path, this.destination);
      for (const path of [this.destination, ...this.#parents]) syncPath(dirname(path));
    });
  }

  /** Removes what was built, and the created directories above it unless they are in use. */
  discard(): void {
    discard(this.path);
    for (const parent of this.#parents) {
      try {
        rmdirSync(parent);
      } catch {
        // It is in use, or was never created.
      }
    }
  }
}

/** Refuses a path that an output cannot go to, before there is any. @throws AppError OUTPUT_EXISTS */
export function assertFree(path: string, shape: 'file' | 'directory'): void {
  if (shape === 'file') assertNothingAt(path);
  else freePlace(path);
}

/** The real path of a free place: missing, or an empty directory. */
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

/** Error codes of file systems without hard links. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** A file that is written beside its final path and then moved there complete. It never replaces another file. */
export class StagedFile {
  /** Path to write to; the writer creates it. */
  readonly path: string;
  /** The final path. */
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

  /** Moves the finished file to its final path. */
  publish(): void {
    writingTo(this.destination, () => {
      this.#take();
      syncPath(dirname(this.destination));
    });
  }

  /**
   * Prefers a link, which fails if the path exists. A rename would replace the file, so it is only used without hard
   * links.
   */
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

  /** Removes what was written. */
  discard(): void {
    discard(this.path);
  }
}

/** @throws AppError OUTPUT_UNWRITABLE if the directory of the file is missing */
function assertDirectoryOf(path: string): void {
  writingTo(path, () => {
    if (!statSync(dirname(resolve(path))).isDirectory()) throw unwritable(path, 'it lies in no directory');
  });
}

function assertNothingAt(path: string): void {
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) throw exists(path, 'is there already');
}

/**
 * Removes partial output after a failure. Never throws, because the first error is the one to report. For a path below
 * a file, the file system gives an error even if nothing exists.
 */
function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // The remains have another name than the final path, so they block nothing.
  }
}

/**
 * Asserts that a file can be written, and removes the old file of that name. If this run produces nothing, the file of
 * an earlier run would look like its own.
 * @throws AppError OUTPUT_UNWRITABLE
 */
export function clearFile(path: string): void {
  assertWritable(path);
  writingTo(path, () => rmSync(path, { force: true }));
}

/** Asserts that a file can be written, by creating and removing one beside it. @throws AppError OUTPUT_UNWRITABLE */
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
 * Writes a file that is complete or absent. It replaces an old file of that name, such as the last nightly report.
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
