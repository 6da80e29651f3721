// Runs before each test file. Files share a process and its modules, so a hook that a module registers when it is
// loaded would run only in the first file.
import fc from 'fast-check';
import { afterAll, afterEach } from 'vitest';
import { endFile, endTest } from './leftovers.ts';
import { repeated } from './long-form.ts';
import { removeTemporaryDirectories } from './temp-dir.ts';

fc.configureGlobal({ numRuns: repeated(30, 100) });

afterEach(endTest);
afterAll(async () => {
  await endFile();
  removeTemporaryDirectories();
});
