import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Their tests leave nothing behind in their process, so that it need not be another one for each file. */
const SHARING = [
  'test/*.test.ts',
  'test/{analysis,app,bench,cli,core,deploy,documents,formats,http1,inference,monitors}/**/*.test.ts',
  'test/{redaction,replay,scripts,storage}/**/*.test.ts',
  'test/proxy/{control,net,recorder,tap}/**/*.test.ts',
];

const NOT_IN_NPM_TEST = ['browser', 'peers', 'faults', 'alone', 'scale'].map((suite) => `test/${suite}/**`);

export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: 'sharing', include: SHARING, isolate: false } },
      {
        extends: true,
        test: {
          name: 'alone',
          include: ['test/**/*.test.ts'],
          exclude: [...SHARING, ...NOT_IN_NPM_TEST, 'node_modules/**'],
        },
      },
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
