import { chmodSync, existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { takenAway } from './database.ts';
import { DirectoryLock } from './directory-lock.ts';
import { isMissing, syncPath } from './durable-files.ts';
import { type Manifest, writeManifest } from './manifest.ts';
import { settleSegment, sha256Of } from './sealing.ts';
import {
  CLAIMED_SUFFIX,
  FORGET_LOCK_FILE,
  HANDED_SUFFIX,
  LEFTOVER_SUFFIXES,
  MANIFEST_SUFFIX,
  REWRITING_SUFFIX,
  TOMBSTONE_SUFFIX,
} from './segment-name.ts';

/**
 * Puts a segment that was written anew in the place of the sealed one.
 *
 * The manifest is taken away first: from then on the segment counts as one that is not sealed yet, which is
 * readable, and which whoever finds it after a crash seals anew, be it the old file or the new one. Taking it is
 * also what decides between us and a retention that wants the same segment: one of the two gets it.
 * Readers that have the old file open keep it until they close it.
 * @throws AppError CAPTURE_NOT_FOUND when retention was quicker; what the file system throws.
 */
export function replaceSegment(path: string, facts: Omit<Manifest, 'fileBytes' | 'sha256'>): Manifest {
  const rewritten = `${path}${REWRITING_SUFFIX}`;
  chmodSync(rewritten, 0o400);
  syncPath(rewritten);
  const manifest = { ...facts, fileBytes: statSync(rewritten).size, sha256: sha256Of(rewritten) };
  // What was shipped is shipped again: the copy elsewhere still holds what was forgotten here.
  rmSync(`${path}${HANDED_SUFFIX}`, { force: true });
  claim(path);
  renameSync(rewritten, path);
  syncPath(dirname(path));
  writeManifest(path, manifest);
  rmSync(`${path}${CLAIMED_SUFFIX}`, { force: true });
  return manifest;
}

/**
 * Ends what a rewriting began that did not come to its end: half a file goes, a segment without seal gets one, but
 * for one that is being taken away: sealed anew, it would be half there again.
 */
export function finishInterrupted(captureDirectory: string, clock: Clock): void {
  for (const file of leftoversIn(captureDirectory)) {
    const path = join(captureDirectory, file);
    const segment = path.slice(0, -CLAIMED_SUFFIX.length);
    const isLeft = file.endsWith(CLAIMED_SUFFIX) && existsSync(segment);
    if (isLeft && !existsSync(`${segment}${TOMBSTONE_SUFFIX}`)) settleSegment(segment, clock);
    rmSync(path, { force: true });
  }
}

/**
 * Removes what an interrupted `forget` left, for a recorder that starts: a copy of a segment that nobody reads
 * would take of its quota for ever. What has no seal its sealer finds by itself. Where a `forget` works, or the
 * files are another user's, they stay: recording does not depend on it.
 */
export function removeLeftovers(captureDirectory: string): void {
  if (leftoversIn(captureDirectory).length === 0) return;
  let lock: DirectoryLock | null = null;
  try {
    lock = DirectoryLock.acquire(captureDirectory, FORGET_LOCK_FILE);
    for (const file of leftoversIn(captureDirectory)) rmSync(join(captureDirectory, file), { force: true });
  } catch {
    // `verify` tells of them, and the next forget or start removes them.
  } finally {
    lock?.release();
  }
}

/** What an interrupted `forget` left, or one that works has there just now. */
export function leftoversIn(captureDirectory: string): string[] {
  return readdirSync(captureDirectory)
    .filter((file) => LEFTOVER_SUFFIXES.some((suffix) => file.endsWith(suffix)))
    .sort();
}

function claim(path: string): void {
  try {
    renameSync(`${path}${MANIFEST_SUFFIX}`, `${path}${CLAIMED_SUFFIX}`);
  } catch (error) {
    throw isMissing(error) ? takenAway(basename(path)) : error;
  }
  syncPath(dirname(path));
}
