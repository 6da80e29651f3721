import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [
      'test/browser/**',
      'test/peers/**',
      'test/faults/**',
      'test/alone/**',
      'test/scale/**',
      'node_modules/**',
    ],
    pool: 'forks',
    // Much of the time is spent waiting for sockets and processes: on two cores two workers leave a fifth of it idle.
    maxWorkers: 3,
    // Hundreds of tests start the command: what Node made of its sources is made once.
    env: { NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url)) },
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
