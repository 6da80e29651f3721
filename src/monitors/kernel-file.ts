import { readFileSync } from 'node:fs';

/** Reads a file of the kernel, or gives null where there is none. */
export type ReadKernelFile = (path: string) => string | null;

export function readKernelFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Another system, another version of control groups, or a thread that has ended.
    return null;
  }
}
