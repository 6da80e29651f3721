import { rmSync } from 'node:fs';

/**
 * Takes away what a failure left half made. Never throws: what failed before is what is to be told, and of a path that
 * leads through a file the file system will not even say that nothing is there.
 */
export function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // It keeps a name of its own beside the place it was made for, and is in nobody's way.
  }
}
