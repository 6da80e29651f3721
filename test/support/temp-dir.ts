import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const made: string[] = [];

// Registered when a test file imports this module: hooks of one kind run last-registered first, so whatever
// still writes there is stopped by the test's own hooks before the directory goes.
afterAll(() => {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
});

/** A fresh directory that is gone when the test file ends. Usable in tests and in hooks. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'reprise-test-'));
  made.push(directory);
  return directory;
}
