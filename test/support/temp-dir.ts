import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const made: string[] = [];

/** Once the test file is over and nothing writes there any more. */
export function removeTemporaryDirectories(): void {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}

/** A fresh directory that is gone when the test file ends. Usable in tests and in hooks. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'reprise-test-'));
  made.push(directory);
  return directory;
}
