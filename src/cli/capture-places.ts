import { dirname, isAbsolute, join, resolve } from 'node:path';

/** Folders above a run in which its capture is looked for. */
const MOST_FOLDERS = 8;

/**
 * Where a capture may lie that a run names. A relative name was given in some working directory that nobody knows
 * any more: the run's own folders are tried first, from the innermost, since runs are kept below it; then the one
 * of today.
 */
export function capturePlaces(capture: string, runDirectory: string): string[] {
  if (isAbsolute(capture)) return [capture];
  const folders: string[] = [];
  for (let folder = resolve(runDirectory); folders.length < MOST_FOLDERS; folder = dirname(folder)) {
    folders.push(folder);
    if (folder === dirname(folder)) break;
  }
  const places = [...folders, process.cwd()].map((folder) => join(folder, capture));
  return [...new Set(places)];
}
