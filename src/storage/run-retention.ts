import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { AppError, reasonOf } from '../core/errors.ts';
import { RunReader } from './run-reader.ts';
import { CALIBRATION_DIRECTORY, RUN_DATABASE, RUN_SUMMARY } from './run-schema.ts';

/** Which runs stay: so many of the newest, or those that ended within a time. */
export type RunsKept =
  | { readonly kind: 'count'; readonly runs: number }
  | { readonly kind: 'age'; readonly ms: number };

export interface RemovedRuns {
  readonly removed: readonly string[];
  /** Directories that could not be removed, with the reason. */
  readonly failed: readonly { readonly directory: string; readonly reason: string }[];
}

/** All that a run's directory holds. One with anything else in it is somebody's folder too, and stays. */
const OWN_ENTRIES: ReadonlySet<string> = new Set([RUN_DATABASE, RUN_SUMMARY, CALIBRATION_DIRECTORY]);

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
 */
export function removeOlderRuns(newest: string, kept: RunsKept, nowUs: number): RemovedRuns {
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
      rmSync(directory, { recursive: true });
      removed.push(directory);
    } catch (error) {
      failed.push({ directory, reason: reasonOf(error) });
    }
  }
  return { removed, failed };
}

function sealedRunsBelow(parent: string): SealedRun[] {
  return readdirSync(parent).flatMap((name) => {
    const run = sealedRun(join(parent, name));
    return run === null ? [] : [run];
  });
}

/** Null for what is no sealed run, or not only one. */
function sealedRun(directory: string): SealedRun | null {
  if (!lstatSync(directory, { throwIfNoEntry: false })?.isDirectory()) return null;
  let entries: string[];
  try {
    entries = readdirSync(directory);
  } catch {
    // Not ours to read, so not ours to remove.
    return null;
  }
  const isWhole = entries.includes(RUN_DATABASE) && entries.includes(RUN_SUMMARY);
  if (!isWhole || entries.some((entry) => !OWN_ENTRIES.has(entry))) return null;
  try {
    const reader = new RunReader(directory);
    const { run, summary } = reader;
    reader.close();
    const isReplay = (summary as { kind?: unknown } | null)?.kind === 'replay';
    return run === null || !isReplay
      ? null
      : { directory, startedAtUs: run.startedAtUs, endedAtUs: run.endedAtUs };
  } catch (error) {
    // Somebody else's run.sqlite, or one of a later format: not known for a run.
    if (error instanceof AppError) return null;
    throw error;
  }
}
