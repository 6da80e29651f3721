import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What runs as a process or a thread of its own. Its file is in `cli/workers`, because only `cli` prints and exits. */
export type EntryName =
  | 'recorder'
  | 'sealer'
  | 'pacer'
  | 'sender'
  | 'checker'
  | 'command'
  | 'profiler'
  | 'reporter'
  | 'null-server';

/**
 * Where the file of a worker lies: in `cli/workers`, with this file's extension. That makes it the `.ts` source in a
 * checkout and the built `.js` in an installed package, without anybody asking which of the two is running.
 */
export function entryUrl(name: EntryName): URL {
  return new URL(`../cli/workers/${name}${extname(fileURLToPath(import.meta.url))}`, import.meta.url);
}

/** The same as a path, for `child_process`. */
export function entryPath(name: EntryName): string {
  return fileURLToPath(entryUrl(name));
}
