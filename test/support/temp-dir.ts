import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const made: string[] = [];

/** Removes all directories. Call it after the test file, when nothing writes there any more. */
export function removeTemporaryDirectories(): void {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}

/** A new directory that is removed when the test file ends. It can be used in tests and in hooks. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'reprise-test-'));
  made.push(directory);
  return directory;
}
