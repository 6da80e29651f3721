// The suites that `npm test` leaves out, because they need a browser, a peer tool, a broken disk, or data
// and minutes. CI runs independent ones several at a time (`--maxWorkers`).
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  test: {
    include: ['test/{browser,peers,faults,alone,scale}/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    // As in npm test: hundreds of tests start the command. What measures it starts it without.
    env: { NODE_COMPILE_CACHE: new URL('../node_modules/.cache/compiled', import.meta.url).pathname },
    testTimeout: 300_000,
    hookTimeout: 120_000,
  },
});
