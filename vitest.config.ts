import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/browser/**', 'test/peers/**', 'test/faults/**', 'test/scale/**', 'node_modules/**'],
    pool: 'forks',
    // Much of the time is spent waiting for sockets and processes; Vitest's own choice would use one core of two.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
