import { statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const NOT_IN_NPM_TEST = ['browser', 'docs', 'peers', 'faults', 'alone', 'scale'].map(
  (suite) => `test/${suite}/**`,
);

/** A file system in memory: a third of the time would be waiting for syncs. The suites of faults wait for a disk. */
const IN_MEMORY = '/dev/shm';

function scratchDirectory(): string {
  try {
    const { bavail, bsize } = statfsSync(IN_MEMORY);
    return bavail * bsize > 2 ** 31 ? IN_MEMORY : tmpdir();
  } catch {
    return tmpdir();
  }
}

/** Tests here wait for processes and sockets. One that came last would keep one core busy, and the others idle. */
const WAITING = /\/test\/(integration|storage|proxy|replay\/engine|app\/recording)\//;

class WaitingFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const place = ({ moduleId }: TestSpecification) => Number(!WAITING.test(moduleId));
    return sorted.toSorted((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...NOT_IN_NPM_TEST, 'node_modules/**'],
    // Files share a process: what a test leaves behind is ended by the setup file.
    isolate: false,
    setupFiles: ['test/support/setup.ts'],
    pool: 'forks',
    sequence: { sequencer: WaitingFirst },
    // Much of the time is spent waiting for sockets and processes: on two cores two workers leave a fifth of it idle.
    maxWorkers: 3,
    // Hundreds of tests start the command: what Node made of its sources is made once.
    env: {
      NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url)),
      TMPDIR: scratchDirectory(),
    },
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // What is waited for comes on a busy machine too, only later.
    expect: { poll: { timeout: 30_000 } },
  },
});
