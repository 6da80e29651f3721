import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/browser/**', 'test/peers/**', 'test/faults/**', 'test/scale/**', 'node_modules/**'],
    pool: 'forks',
    // Much of the time is spent waiting for sockets and processes; Vitest's own choice would use one core of two.
    maxWorkers: 2,
    // Hundreds of tests start the command: what Node made of its sources is made once.
    env: { NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url)) },
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
