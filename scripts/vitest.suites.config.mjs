// The suites that `npm test` leaves out, because they need a browser, a peer tool, a broken disk, or data
// and minutes.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  test: {
    include: ['test/{browser,peers,faults,scale}/**/*.test.ts'],
    pool: 'forks',
    // One at a time: each has a machine's worth of processes of its own.
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 120_000,
  },
});
