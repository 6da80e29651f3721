import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { AppError, reasonOf } from '../../core/errors.ts';
import { RunReader } from './reader.ts';
import { CALIBRATION_DIRECTORY, RUN_DATABASE, RUN_SUMMARY } from './schema.ts';

/** Which runs stay: so many of the newest, or those that ended within a time. */
type RunsKept =
  | { readonly kind: 'count'; readonly runs: number }
  | { readonly kind: 'age'; readonly ms: number };

interface RemovedRuns {
  readonly removed: readonly string[];
  /** Directories that could not be removed, with the reason. */
  readonly failed: readonly { readonly directory: string; readonly reason: string }[];
}

/** What a run is made of. A directory with anything else in it is somebody's folder too, and stays. */
const OWN_FILES: readonly string[] = [RUN_DATABASE, RUN_SUMMARY];

interface SealedRun {
  readonly directory: string;
  readonly startedAtUs: number;
  readonly endedAtUs: number;
}

/**
 * Removes older sealed runs beside a run, which stays in any case. What is not a sealed run by its files and what they say, what
 * holds anything else, and links stay, whatever they are called.
 * @param newest the directory of the one that was just made
 * @param nowUs epoch microseconds
 * @param remove how a directory is removed with all that is in it
 */
export function removeOlderRuns(
  newest: string,
  kept: RunsKept,
  nowUs: number,
  remove: (directory: string) => void = removeWhole,
): RemovedRuns {
  // However it was written: `runs/a/` is `runs/a`.
  const except = resolve(newest);
  const parent = dirname(except);
  let runs: SealedRun[];
  try {
    runs = sealedRunsBelow(parent).sort((a, b) => b.startedAtUs - a.startedAtUs);
  } catch (error) {
    // The new run is sealed and its verdict stands, whatever lies beside it.
    return { removed: [], failed: [{ directory: parent, reason: reasonOf(error) }] };
  }
  const others = runs.filter(({ directory }) => directory !== except);
  const isOld = ({ endedAtUs }: SealedRun) => kept.kind === 'age' && endedAtUs < nowUs - kept.ms * 1e3;
  const surplus = kept.kind === 'count' ? others.slice(kept.runs - 1) : others.filter(isOld);
  const removed: string[] = [];
  const failed: { directory: string; reason: string }[] = [];
  for (const { directory } of surplus) {
    try {
      remove(directory);
      removed.push(directory);
    } catch (error) {
      failed.push({ directory, reason: reasonOf(error) });
    }
  }
  return { removed, failed };
}

function removeWhole(directory: string): void {
  rmSync(directory, { recursive: true });
}

function sealedRunsBelow(parent: string): SealedRun[] {
  return readdirSync(parent).flatMap((name) => {
    const run = sealedReplay(join(parent, name));
    return run === null ? [] : [run];
  });
}

/** A sealed replay, with what was played to calibrate if that is whole too; null for anything else or more. */
function sealedReplay(directory: string): SealedRun | null {
  const calibration = join(directory, CALIBRATION_DIRECTORY);
  const calibrated = isThere(calibration);
  // A name proves nothing: whatever else is called so is not ours to remove.
  if (calibrated && sealedRun(calibration, 'calibration', []) === null) return null;
  return sealedRun(directory, 'replay', calibrated ? [CALIBRATION_DIRECTORY] : []);
}

/** Whether anything is called so, a link that leads nowhere too. */
function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    // Below a file, or below what is not ours to look into: what it is below of is looked at next.
    return false;
  }
}

/** Null for what is no sealed run of this kind, or not only one. */
function sealedRun(directory: string, kind: string, besides: readonly string[]): SealedRun | null {
  if (!lstatSync(directory, { throwIfNoEntry: false })?.isDirectory()) return null;
  let entries: string[];
  try {
    entries = readdirSync(directory);
  } catch {
    // Not ours to read, so not ours to remove.
    return null;
  }
  const own = [...OWN_FILES, ...besides];
  if (entries.length !== own.length || !own.every((name) => entries.includes(name))) return null;
  // A link or a folder in the place of a file is somebody's doing.
  if (!OWN_FILES.every((name) => lstatSync(join(directory, name)).isFile())) return null;
  try {
    const reader = new RunReader(directory);
    const { run, summary } = reader;
    reader.close();
    const isOfKind = (summary as { kind?: unknown } | null)?.kind === kind;
    return run === null || !isOfKind
      ? null
      : { directory, startedAtUs: run.startedAtUs, endedAtUs: run.endedAtUs };
  } catch (error) {
    // Somebody else's run.sqlite, or one of a later format: not known for a run.
    if (error instanceof AppError) return null;
    throw error;
  }
}
