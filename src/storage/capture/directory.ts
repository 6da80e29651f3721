import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  type Stats,
  statfsSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { lifeOfFile } from '../../core/accounting.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { nearest } from '../../core/text.ts';
import { HOUR_US } from '../../core/units.ts';
import { RUN_DATABASE, RUN_SUMMARY } from '../runs/schema.ts';

/** Subdirectory for the capture when the named directory is shared with other files. */
export const OWN_SUBDIRECTORY = 'reprise';
/** The document of a search for a breaking point, in its directory. */
export const CAPACITY_FILE = 'capacity.json';
/** The comparison of a replay of two targets, beside their runs. */
export const COMPARISON_FILE = 'comparison.json';
/** The document of a statement, in its directory. */
export const STATEMENT_FILE = 'statement.json';
const PRIVATE_MODE = 0o700;

export interface SegmentFile extends SegmentName {
  readonly path: string;
  readonly file: string;
  /** Whether its manifest exists. */
  readonly sealed: boolean;
}

/**
 * The capture directory for the one a user named. That is the named one if it is a capture or does not exist
 * yet. Otherwise it is `reprise` below it, so a directory that others use keeps its mode. `write` creates it
 * (0700) if it is missing.
 * @throws AppError CAPTURE_NOT_FOUND when reading, OUTPUT_UNWRITABLE when writing
 */
export function resolveCaptureDirectory(directory: string, use: 'read' | 'write'): string {
  return use === 'read' ? findCapture(directory) : makeCapture(directory);
}

/** Whether a directory is a capture: it holds a segment, an account, a hash key or a recorder's lock. */
function isCapture(directory: string): boolean {
  try {
    return readdirSync(directory).some(isCaptureFile);
  } catch {
    // Missing, unreadable or not a directory. None is a capture; the caller reports the cause.
    return false;
  }
}

/** Whether a file of that name makes its directory a capture. */
export function isCaptureFile(file: string): boolean {
  return (
    file === HASH_KEY_FILE ||
    file === LOCK_FILE ||
    lifeOfFile(file) !== null ||
    parseSegmentName(file) !== null
  );
}

/** Segments of a capture, sorted by name, without expired ones. */
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

/** Paths of unsealed segments. A starting recorder seals them before it opens its own. */
export function unsealedSegments(captureDirectory: string): string[] {
  return segmentsOf(captureDirectory).flatMap(({ sealed, path }) => (sealed ? [] : [path]));
}

/** Default disk limit, from the free space at the capture's (future) place and its current size. */
export function defaultMaxDiskBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(nearestExisting(directory));
  const own = statusOf(directory) === null ? 0 : directoryBytes(directory, fileSizesOf(directory));
  return defaultShareBytes(bavail * bsize, own);
}

/**
 * The lesser of 10 GiB and half the free space. The capture's own size counts as free. Otherwise each restart
 * would halve the limit and expire the rest.
 */
export function defaultShareBytes(freeBytes: number, ownBytes: number): number {
  return Math.min(LIMITS.maxDiskBytes, Math.floor((freeBytes + ownBytes) / 2));
}

function findCapture(directory: string): string {
  const places = [directory, join(directory, OWN_SUBDIRECTORY)];
  const found = places.find(isCapture);
  if (found !== undefined) return found;
  for (const place of places) assertMayEnter(place);
  const other = whatIs(directory);
  const what = other?.what ?? 'it holds no segment (….sqlite), key or lock of a recorder';
  throw new AppError('CAPTURE_NOT_FOUND', `${directory} is not a capture: ${what}`, {
    hint: other?.hint ?? 'Name the directory that `reprise record --dir` or `reprise import --out` wrote.',
  });
}

/** @throws AppError CAPTURE_NOT_FOUND naming the owner, if this user may see it */
function assertMayEnter(place: string): void {
  try {
    readdirSync(place);
  } catch (error) {
    if (!hasCode(error, 'EACCES')) return;
    let owner = '';
    try {
      owner = ` (${lstatSync(place).uid})`;
    } catch {
      // The parent directory is closed as well.
    }
    const who = `this user (${process.geteuid?.()}) lacks the permission`;
    throw new AppError('CAPTURE_NOT_FOUND', `${place} cannot be entered: ${who}`, {
      hint: `Run this as the user that records${owner}: only that user may read a capture (0700).`,
      cause: error,
    });
  }
}

/** What a path is, and what to type instead; the hint is null if unknown. */
interface KnownPath {
  readonly what: string;
  readonly hint: string | null;
}

/** What a path really is, and which command reads it; null for a directory of other files. */
export function whatIs(path: string): KnownPath | null {
  let files: string[];
  try {
    files = readdirSync(path);
  } catch (error) {
    if (hasCode(error, 'ENOTDIR')) return whatFileIs(path);
    if (!isMissing(error)) return { what: reasonOf(error), hint: null };
    const near = nearestTo(path);
    const hint = near === null ? null : `Did you mean ${near}?`;
    return { what: 'there is no such directory', hint };
  }
  if (files.length === 0) return { what: 'it is empty', hint: null };
  const kind = kindOf(path);
  if (kind !== null) return { what: `it is ${KINDS[kind].called}`, hint: KINDS[kind].readBy(path) };
  // The newest has the last name.
  const inner = files
    .sort()
    .slice(-MOST_TRIED)
    .findLast((each) => kindOf(join(path, each)) !== null);
  const contained = inner === undefined ? null : kindOf(join(path, inner));
  if (inner === undefined || contained === null) return null;
  return {
    what: `it contains ${KINDS[contained].called}`,
    hint: `Name one within it, such as ${join(path, inner)}.`,
  };
}

/** Directories that are tried within one that is none of ours. */
const MOST_TRIED = 100;

/** The directories that Reprise writes, and how to read them. */
const KINDS = {
  run: {
    called: 'a run',
    readBy: (path: string) => `Read it with: reprise report ${path}, or reprise show ${path}.`,
  },
  search: {
    called: 'a search of reprise capacity',
    readBy: (path: string) =>
      `Read it with: reprise report ${path}. Its steps are runs in ${join(path, 'steps')}. A stopped search goes on with the command that began it and the same --out.`,
  },
  alternation: {
    called: 'a replay of two targets',
    readBy: (path: string) =>
      `Read the comparison with: reprise compare ${path} (--html FILE writes a page). Its runs are in it: reprise report ${join(path, '01-A')}.`,
  },
  statement: {
    called: 'a statement',
    readBy: (path: string) =>
      `Read it with: reprise statement --from ${path} (--html FILE writes the page). Its runs are in it, such as ${join(path, 'recorded')}.`,
  },
  capture: {
    called: 'a capture',
    readBy: (path: string) =>
      `Read it with: reprise inspect ${path}, or reprise profile ${path}. reprise replay makes a run of it.`,
  },
} as const;

/** What a directory is; null if it is none that Reprise writes. */
export function kindOf(directory: string): keyof typeof KINDS | null {
  const has = (file: string) => statSync(join(directory, file), { throwIfNoEntry: false }) !== undefined;
  if (has(RUN_DATABASE)) return 'run';
  if (has(CAPACITY_FILE)) return 'search';
  if (has(COMPARISON_FILE)) return 'alternation';
  if (has(STATEMENT_FILE)) return 'statement';
  return isCapture(directory) || isCapture(join(directory, OWN_SUBDIRECTORY)) ? 'capture' : null;
}

/** Files of runs and searches, by which a shell completes a path too far. */
const FILES_OF_DIRECTORIES: readonly string[] = [
  ...[RUN_DATABASE, RUN_SUMMARY],
  ...[CAPACITY_FILE, COMPARISON_FILE, STATEMENT_FILE],
];
/** Formats of traces, and the flags they need, by the ends of their names without what packs them. */
const TRACES: readonly (readonly [end: RegExp, format: string])[] = [
  [/\.z?har$/i, 'har'],
  [/\.gor$/i, 'gor'],
  [/\.(?:csv|log|jsonl)$/i, 'arrivals --time FIELD'],
];

/** Whether a file is part of the run, the search or the capture that its directory is. */
export function isPart(path: string): boolean {
  const file = basename(path);
  return (isCaptureFile(file) || FILES_OF_DIRECTORIES.includes(file)) && kindOf(dirname(path)) !== null;
}

function whatFileIs(path: string): KnownPath {
  const file = basename(path);
  const directory = dirname(path);
  const kind = isPart(path) ? kindOf(directory) : null;
  if (kind !== null)
    return { what: `it is a file of ${KINDS[kind].called}`, hint: `Give the directory: ${directory}.` };
  if (/\.ya?ml$/i.test(file))
    return { what: 'it is a YAML file', hint: `A scenario is run with: reprise run ${path}.` };
  const [, format] = TRACES.find(([end]) => end.test(file.replace(/\.gz$/i, ''))) ?? [];
  if (format !== undefined) {
    const [name, ...flags] = format.split(' ');
    const command = ['reprise import', name, path, ...flags, '--out captures/imported'].join(' ');
    const hint = `Make a capture of it first: ${command}.`;
    return { what: 'it is a file', hint };
  }
  const head = headOf(path);
  if (head.startsWith('SQLite format 3'))
    return { what: 'it is a database', hint: `A history is read with: reprise history ${path}.` };
  if (/^\s*\{[^{}]*"kind":\s*"profile"/.test(head))
    return { what: 'it is a profile', hint: `Read it with: reprise profile --document ${path}.` };
  const hint = 'Give a directory. reprise import makes a capture of a trace: see reprise import --help.';
  return { what: 'it is a file', hint };
}

/** The first characters of a file; empty if it cannot be read. Pipes and devices are not opened. */
function headOf(path: string): string {
  try {
    if (!statSync(path).isFile()) return '';
    const descriptor = openSync(path, 'r');
    try {
      const head = Buffer.alloc(1024);
      return head.toString('latin1', 0, readSync(descriptor, head));
    } finally {
      closeSync(descriptor);
    }
  } catch {
    // What it is stays unknown, and the caller reports that.
    return '';
  }
}

/** The path beside a missing one that was likely meant; null if none is near. */
function nearestTo(path: string): string | null {
  const directory = dirname(path);
  try {
    const near = nearest(basename(path), readdirSync(directory));
    return near === null ? null : join(directory, near);
  } catch {
    // Its directory is missing too, or cannot be read.
    return null;
  }
}

function makeCapture(directory: string): string {
  try {
    const present = statusOf(directory);
    if (present === null) {
      makeDirectories(dirname(directory));
      return makePrivate(directory);
    }
    if (!present.isDirectory() && !present.isSymbolicLink()) return makePrivate(directory);
    assertNoOther(directory);
    return makePrivate(isCapture(directory) ? directory : join(directory, OWN_SUBDIRECTORY));
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('OUTPUT_UNWRITABLE', `${directory} cannot be written: ${reasonOf(error)}`, {
      hint: 'Name a directory on a disk this user may write to.',
      cause: error,
    });
  }
}

/** @throws AppError OUTPUT_UNWRITABLE for a run or a search: who reads it there would not look for a capture */
function assertNoOther(directory: string): void {
  const kind = kindOf(directory);
  if (kind === null || kind === 'capture') return;
  throw new AppError('OUTPUT_UNWRITABLE', `${directory} cannot be recorded to: it is ${KINDS[kind].called}`, {
    hint: 'Name a new directory, such as --dir captures/today.',
  });
}

/**
 * Refuses a path that another user prepared: its owner could read what is written, or knows the hash key. A file server
 * may show our files as another user's, as NFS does with root's (`root_squash`). So a path is also ours if a new file
 * of ours gets the same owner there.
 * @param newFileOwner the owner of a new file in a directory; for tests
 * @throws AppError OUTPUT_UNWRITABLE naming the owner
 */
export function assertOwn(path: string, status: Stats, newFileOwner = ownerOfNewFile): void {
  const { uid } = status;
  const own = process.geteuid?.() ?? uid;
  if (uid === own || uid === newFileOwner(status.isDirectory() ? path : dirname(path))) return;
  throw new AppError('OUTPUT_UNWRITABLE', `${path} belongs to another user (${uid})`, {
    hint: `Record as that user, give it to this one (chown -R ${own} ${path}), or name another directory.`,
  });
}

/** The owner of a file that this process creates in a directory; null if it cannot create one. */
export function ownerOfNewFile(directory: string): number | null {
  const path = join(directory, `.owner-${randomBytes(8).toString('hex')}`);
  try {
    // `wx` never opens a file or a link that somebody else put there.
    closeSync(openSync(path, 'wx', 0o600));
  } catch {
    // Then nothing of a capture can be written there either.
    return null;
  }
  const { uid } = lstatSync(path);
  unlinkSync(path);
  return uid;
}

/**
 * Creates our own directory, or resets its mode to 0700: orchestrators widen the modes of mounted volumes.
 */
function makePrivate(directory: string): string {
  const present = statusOf(directory);
  if (present === null) mkdirSync(directory, { mode: PRIVATE_MODE });
  else if (!present.isDirectory()) {
    const kind = present.isSymbolicLink() ? 'link' : 'file';
    throw new AppError('OUTPUT_UNWRITABLE', `${directory} is a ${kind}`, {
      hint: 'A capture is written only to its own directory. Remove it or name another.',
    });
  } else assertOwn(directory, present);
  // The umask applies to mkdir's mode, and an older directory may have any mode.
  chmodSync(directory, PRIVATE_MODE);
  return directory;
}

/**
 * Creates a directory and its missing parents. Node's recursive mkdir never returns for a name that the file system
 * does not allow, such as /proc/x.
 * @throws Error of the file system
 */
export function makeDirectories(path: string, mode?: number): void {
  try {
    makeDirectory(path, mode);
  } catch (error) {
    if (!isMissing(error) || dirname(path) === path) throw error;
    makeDirectories(dirname(path), mode);
    makeDirectory(path, mode);
  }
}

/** Creates a directory. One that another process created meanwhile is fine. */
function makeDirectory(path: string, mode?: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (!hasCode(error, 'EEXIST') || !statSync(path).isDirectory()) throw error;
  }
}

function statusOf(path: string): Stats | null {
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}

function nearestExisting(path: string): string {
  const parent = dirname(path);
  return statusOf(path) !== null || parent === path ? path : nearestExisting(parent);
}

/**
 * Names of a capture's files. A segment never changes its name; a manifest beside it says that it is sealed.
 */

export const MANIFEST_SUFFIX = '.manifest.json';
/** The renamed manifest of an expired segment, kept until the expiry is committed. */
export const TOMBSTONE_SUFFIX = '.expired.json';
/** Appended to the name of a segment that failed its check. It is kept but never read. */
export const DAMAGED_SUFFIX = '.damaged';
/**
 * The new version of a segment while `forget` writes it. It lacks the forgotten exchanges and is never read.
 */
export const REWRITING_SUFFIX = '.rewriting';
/** The manifest of a segment while `forget` replaces its file. */
export const CLAIMED_SUFFIX = '.rewriting.json';
/** Files that an interrupted `forget` may leave beside a segment. */
export const LEFTOVER_SUFFIXES = [REWRITING_SUFFIX, CLAIMED_SUFFIX] as const;
/** An empty file beside a sealed segment that was shipped. */
export const HANDED_SUFFIX = '.handed';
/** SQLite's own files beside an open segment. */
export const SIDE_SUFFIXES = ['-wal', '-shm', '-journal'] as const;

export const HASH_KEY_FILE = 'hash.key';
export const LOCK_FILE = 'recorder.lock';
/** Lock so that only one `forget` works on a capture at a time. A recorder may run beside it. */
export const FORGET_LOCK_FILE = 'forget.lock';

const PATTERN = /^(\d{4})(\d{2})(\d{2})T(\d{2})-([0-9a-z]{1,32})-(\d{4,})\.sqlite$/;

interface SegmentName {
  /** Hours since the epoch, UTC. */
  readonly hour: number;
  readonly recorder: string;
  /** Counts the segments of one recorder from 1. */
  readonly sequence: number;
}

/** The UTC hour of an instant, counted from the epoch. */
export function hourOf(epochUs: number): number {
  return Math.floor(epochUs / HOUR_US);
}

/** `20261124T15-7f3a9c21-0001.sqlite` */
export function formatSegmentName(name: SegmentName): string {
  const stamp = new Date((name.hour * HOUR_US) / 1000).toISOString();
  const hour = `${stamp.slice(0, 4)}${stamp.slice(5, 7)}${stamp.slice(8, 13)}`;
  return `${hour}-${name.recorder}-${String(name.sequence).padStart(4, '0')}.sqlite`;
}

/** The parts of a segment's file name; null for any other file. */
export function parseSegmentName(file: string): SegmentName | null {
  const match = PATTERN.exec(file);
  if (!match) return null;
  const ms = Date.parse(`${match[1]}-${match[2]}-${match[3]}T${match[4]}:00:00Z`);
  if (Number.isNaN(ms)) return null;
  return { hour: hourOf(ms * 1000), recorder: match[5] ?? '', sequence: Number(match[6]) };
}

/** Allocation unit of file systems. `du` counts these; the last one of a file is rarely full. */
const ALLOCATION_BYTES = 4_096;

export function allocatedBytes(bytes: number): number {
  return Math.ceil(bytes / ALLOCATION_BYTES) * ALLOCATION_BYTES;
}

/** Size of a file; 0 if it does not exist. */
export function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** File sizes of a directory by name. A file deleted meanwhile is left out. */
export function fileSizesOf(directory: string): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const file of readdirSync(directory)) {
    const status = statSync(join(directory, file), { throwIfNoEntry: false });
    if (status !== undefined) sizes.set(file, status.size);
  }
  return sizes;
}

/** Disk space of a directory with all its files, itself included. */
export function directoryBytes(directory: string, sizes: ReadonlyMap<string, number>): number {
  let bytes = allocatedBytes(statSync(directory).size);
  for (const size of sizes.values()) bytes += allocatedBytes(size);
  return bytes;
}

/** Syncs a file or a directory. Syncing a directory makes its names durable. */
export function syncPath(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Writes a small file atomically: after a crash it is complete or absent. */
export function writeFileDurably(path: string, content: string | Uint8Array, mode: number): void {
  const temporary = `${path}.tmp`;
  writeFileSync(temporary, content, { mode, flush: true });
  renameSync(temporary, path);
  syncPath(dirname(path));
}

/** Renames a file; false if it does not exist. */
export function renamed(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Whether a file system error means that the file does not exist. */
export function isMissing(error: unknown): boolean {
  return hasCode(error, 'ENOENT');
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/**
 * Sealed segments that were not shipped yet, oldest first, of the capture of `--dir directory`. Asynchronous,
 * because the caller must not wait for a disk that hangs.
 */
export async function unhandedSegments(directory: string): Promise<string[]> {
  const places = [directory, join(directory, OWN_SUBDIRECTORY)];
  const found = await Promise.all(
    places.map(async (place) => {
      const files = new Set(await namesIn(place));
      return [...files]
        .filter((file) => parseSegmentName(file) !== null && files.has(`${file}${MANIFEST_SUFFIX}`))
        .filter((file) => !files.has(`${file}${HANDED_SUFFIX}`) && !files.has(`${file}${TOMBSTONE_SUFFIX}`))
        .sort()
        .map((file) => join(place, file));
    }),
  );
  return found.flat();
}

/** Identifies one sealing of a segment; it changes when `forget` rewrites it. Null while unsealed. */
export async function sealMark(segmentPath: string): Promise<string | null> {
  try {
    const { ino, mtimeMs } = await stat(`${segmentPath}${MANIFEST_SUFFIX}`);
    return `${ino} ${mtimeMs}`;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Marks a segment as shipped, so it is not shipped again. Throws file system errors. */
export async function markHanded(segmentPath: string): Promise<void> {
  const mark = await open(`${segmentPath}${HANDED_SUFFIX}`, 'w', 0o600);
  await mark.close();
  const directory = await open(dirname(segmentPath), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isMissing(error) || hasCode(error, 'ENOTDIR')) return [];
    throw error;
  }
}
