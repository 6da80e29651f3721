import { open, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { OWN_SUBDIRECTORY } from './capture-directory.ts';
import { isMissing } from './durable-files.ts';
import { HANDED_SUFFIX, MANIFEST_SUFFIX, parseSegmentName, TOMBSTONE_SUFFIX } from './segment-name.ts';

/**
 * Sealed segments that nobody took yet, oldest first, of the capture that a recorder with `--dir directory`
 * writes. Asynchronous, because who asks must not wait for a disk that hangs.
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

/** Tells one seal of a segment from the next, after `forget` wrote it anew; null while it has none. */
export async function sealMark(segmentPath: string): Promise<string | null> {
  try {
    const { ino, mtimeMs } = await stat(`${segmentPath}${MANIFEST_SUFFIX}`);
    return `${ino} ${mtimeMs}`;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Notes that a segment was taken, so that it is not handed over again. Throws what the file system throws. */
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
    if (error instanceof Error && 'code' in error && /^(ENOENT|ENOTDIR)$/.test(String(error.code))) return [];
    throw error;
  }
}
