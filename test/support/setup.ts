// Run before each test file. Files share a process and its modules: a hook that a module registers as it is loaded
// would run in the first file only.
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
