import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { AppError, reasonOf } from '../../core/errors.ts';
import type { Run } from '../../core/run.ts';
import { RunReader } from './reader.ts';
import { CALIBRATION_DIRECTORY, RUN_DATABASE, RUN_SUMMARY } from './schema.ts';

/** Which runs to keep: a number of the newest, or those that ended within a time. */
type RunsKept =
  | { readonly kind: 'count'; readonly runs: number }
  | { readonly kind: 'age'; readonly ms: number };

interface RemovedRuns {
  readonly removed: readonly string[];
  /** Directories that could not be removed, with the reason. */
  readonly failed: readonly { readonly directory: string; readonly reason: string }[];
}

/** The files of a run. A directory with any other file is also used for something else, and stays. */
const OWN_FILES: readonly string[] = [RUN_DATABASE, RUN_SUMMARY];

interface SealedRun extends Pick<Run, 'startedAtUs' | 'endedAtUs'> {
  readonly directory: string;
}

/**
 * Removes older sealed runs beside a run, which itself always stays. Links, and directories that hold anything but one
 * sealed run, also stay, with any name.
 * @param newest directory of the new run
 * @param nowUs epoch microseconds
 * @param remove removes a directory with its content
 */
export function removeOlderRuns(
  newest: string,
  kept: RunsKept,
  nowUs: number,
  remove: (directory: string) => void = (directory) => rmSync(directory, { recursive: true }),
): RemovedRuns {
  // Normalised: `runs/a/` equals `runs/a`.
  const except = resolve(newest);
  const parent = dirname(except);
  let runs: SealedRun[];
  try {
    runs = readdirSync(parent)
      .flatMap((name) => sealedRun(join(parent, name), 'replay') ?? [])
      .sort((a, b) => b.startedAtUs - a.startedAtUs);
  } catch (error) {
    // The new run is sealed and its verdict stands, even if this fails.
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

/**
 * A sealed run of this kind, a replay with its calibration run, if any. Null for anything else, also if there
 * is any other file.
 */
function sealedRun(directory: string, kind: 'replay' | 'calibration'): SealedRun | null {
  if (!lstatSync(directory, { throwIfNoEntry: false })?.isDirectory()) return null;
  let entries: string[];
  try {
    entries = readdirSync(directory);
  } catch {
    // Not readable, so not removed.
    return null;
  }
  const calibrated = kind === 'replay' && entries.includes(CALIBRATION_DIRECTORY);
  // A directory may have this name by chance. If it is not a calibration, do not remove it.
  if (calibrated && sealedRun(join(directory, CALIBRATION_DIRECTORY), 'calibration') === null) return null;
  const own = calibrated ? [...OWN_FILES, CALIBRATION_DIRECTORY] : OWN_FILES;
  if (entries.length !== own.length || !own.every((name) => entries.includes(name))) return null;
  // A link or folder with the name of a run's file is not ours.
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
    // Not a run: a foreign run.sqlite, or one of a later format.
    if (error instanceof AppError) return null;
    throw error;
  }
}
