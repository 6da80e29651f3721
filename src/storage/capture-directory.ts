import { chmodSync, lstatSync, mkdirSync, readdirSync, type Stats, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isAccountFile } from '../core/account.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { directoryBytes, fileSizesOf } from './directory-size.ts';
import { hasCode, isMissing } from './durable-files.ts';
import {
  HASH_KEY_FILE,
  LOCK_FILE,
  MANIFEST_SUFFIX,
  parseSegmentName,
  type SegmentName,
  TOMBSTONE_SUFFIX,
} from './segment-name.ts';

/** Where the capture lies when the directory that was named is not ours alone. */
export const OWN_SUBDIRECTORY = 'reprise';
const PRIVATE_MODE = 0o700;

/** One segment of a directory. */
export interface SegmentFile extends SegmentName {
  readonly path: string;
  readonly file: string;
  /** Its manifest stands beside it. */
  readonly sealed: boolean;
}

/**
 * The directory a capture lies in, given the one a user named: that one when it is a capture or does not exist
 * yet, else `reprise` below it, so that a directory others use keeps its mode and stays theirs.
 * With `write` it is made (0700) when it is missing.
 * @throws AppError CAPTURE_NOT_FOUND when reading, OUTPUT_UNWRITABLE when writing.
 */
export function resolveCaptureDirectory(directory: string, use: 'read' | 'write'): string {
  return use === 'read' ? findCapture(directory) : makeCapture(directory);
}

/** Whether a directory is a capture: it holds a segment, an account, a hash key or a recorder's lock. */
export function isCapture(directory: string): boolean {
  try {
    return readdirSync(directory).some(isCaptureFile);
  } catch {
    // Missing, not a directory, not readable: none of them is a capture, and the callers say which it is.
    return false;
  }
}

/** Whether a file of that name makes its directory a capture. */
export function isCaptureFile(file: string): boolean {
  return (
    file === HASH_KEY_FILE || file === LOCK_FILE || isAccountFile(file) || parseSegmentName(file) !== null
  );
}

/** Segments of a capture in the order of their names; expired ones are left out. */
export function segmentsOf(captureDirectory: string): SegmentFile[] {
  const files = new Set(readdirSync(captureDirectory));
  const segments: SegmentFile[] = [];
  for (const file of files) {
    const name = parseSegmentName(file);
    if (!name || files.has(`${file}${TOMBSTONE_SUFFIX}`)) continue;
    segments.push({
      ...name,
      file,
      path: join(captureDirectory, file),
      sealed: files.has(`${file}${MANIFEST_SUFFIX}`),
    });
  }
  return segments.sort((a, b) => (a.file < b.file ? -1 : 1));
}

/** Paths of the segments nobody sealed yet: what a start hands to the sealer before it opens its own. */
export function unsealedSegments(captureDirectory: string): string[] {
  return segmentsOf(captureDirectory)
    .filter((segment) => !segment.sealed)
    .map((segment) => segment.path);
}

/** What a capture may take, given what is free where it lies (or will lie) and what it takes by now. */
export function defaultMaxDiskBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(nearestExisting(directory));
  const own = statusOf(directory) === null ? 0 : directoryBytes(directory, fileSizesOf(directory));
  return defaultShareBytes(bavail * bsize, own);
}

/**
 * The lesser of 10 GiB and half the space that is free. What the capture takes itself is free for it: without
 * that, each restart would leave it half of what the last one did, and expire the rest.
 */
export function defaultShareBytes(freeBytes: number, ownBytes: number): number {
  return Math.min(LIMITS.maxDiskBytes, Math.floor((freeBytes + ownBytes) / 2));
}

function findCapture(directory: string): string {
  if (isCapture(directory)) return directory;
  const own = join(directory, OWN_SUBDIRECTORY);
  if (isCapture(own)) return own;
  for (const place of [directory, own]) {
    const closed = whyClosed(place);
    if (closed === null) continue;
    const who = `this user (${process.geteuid?.()}) lacks the permission`;
    throw new AppError('CAPTURE_NOT_FOUND', `${place} cannot be entered: ${who}`, {
      hint: `Do it as the user that records${ownerOf(place)}: a capture is its alone (0700).`,
      cause: closed,
    });
  }
  throw new AppError('CAPTURE_NOT_FOUND', `${directory} is not a capture: ${whyNot(directory)}`, {
    hint: 'Name the directory that `reprise record --dir` or `reprise import --out` wrote.',
  });
}

/** What the file system says where this user may not look. */
function whyClosed(directory: string): unknown {
  try {
    readdirSync(directory);
    return null;
  } catch (error) {
    return hasCode(error, 'EACCES') ? error : null;
  }
}

/** In brackets; nothing where this user may not know. */
function ownerOf(place: string): string {
  try {
    return ` (${lstatSync(place).uid})`;
  } catch {
    // What holds it is closed as well.
    return '';
  }
}

function whyNot(directory: string): string {
  try {
    if (!lstatSync(directory).isDirectory()) return 'it is a file, and a capture is a directory';
    const count = readdirSync(directory).length;
    return count === 0 ? 'it is empty' : 'no segment (….sqlite), key or lock of a recorder lies in it';
  } catch (error) {
    return isMissing(error) ? 'there is no such directory' : reasonOf(error);
  }
}

function makeCapture(directory: string): string {
  try {
    const present = statusOf(directory);
    if (present === null) {
      mkdirSync(dirname(directory), { recursive: true });
      return makePrivate(directory);
    }
    return makePrivate(isCapture(directory) ? directory : join(directory, OWN_SUBDIRECTORY));
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('OUTPUT_UNWRITABLE', `${directory} cannot be written: ${reasonOf(error)}`, {
      hint: 'Name a directory on a disk this user may write to.',
      cause: error,
    });
  }
}

/** Makes our own directory, or takes it back to 0700: orchestrators widen the modes of a volume they mount. */
function makePrivate(directory: string): string {
  const present = statusOf(directory);
  if (present === null) mkdirSync(directory, { mode: PRIVATE_MODE });
  else if (!present.isDirectory()) {
    throw new AppError(
      'OUTPUT_UNWRITABLE',
      `${directory} is a ${present.isSymbolicLink() ? 'link' : 'file'}`,
      {
        hint: 'A capture is written only to a directory of its own. Remove it or name another.',
      },
    );
  }
  // mkdir's mode passes through the umask and an older directory has whatever it has.
  chmodSync(directory, PRIVATE_MODE);
  return directory;
}

function statusOf(path: string): Stats | null {
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}

function nearestExisting(path: string): string {
  const parent = dirname(path);
  return statusOf(path) !== null || parent === path ? path : nearestExisting(parent);
}
