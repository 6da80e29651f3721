import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** What file systems give out at once. `du` counts these; the last one of a file is rarely full. */
const ALLOCATION_BYTES = 4_096;

/** What a file of so many bytes takes on a disk. */
export function allocatedBytes(bytes: number): number {
  return Math.ceil(bytes / ALLOCATION_BYTES) * ALLOCATION_BYTES;
}

/** Sizes of a directory's files by name; one that goes meanwhile is left out. */
export function fileSizesOf(directory: string): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const file of readdirSync(directory)) {
    const status = statSync(join(directory, file), { throwIfNoEntry: false });
    if (status !== undefined) sizes.set(file, status.size);
  }
  return sizes;
}

/** What a directory takes with everything in it, itself included. */
export function directoryBytes(directory: string, sizes: ReadonlyMap<string, number>): number {
  let bytes = allocatedBytes(statSync(directory).size);
  for (const size of sizes.values()) bytes += allocatedBytes(size);
  return bytes;
}
