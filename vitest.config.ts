import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Their tests leave nothing behind in their process, so that it need not be another one for each file. */
const PURE = [
  'test/{analysis,core,documents,formats,http1,inference,monitors,redaction,storage}/**/*.test.ts',
  'test/replay/{answers,check,options,plan,request,window}/**/*.test.ts',
];

const NOT_IN_NPM_TEST = ['browser', 'peers', 'faults', 'alone', 'scale'].map((suite) => `test/${suite}/**`);

export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: 'pure', include: PURE, isolate: false } },
      {
        extends: true,
        test: {
          name: 'whole',
          include: ['test/**/*.test.ts'],
          exclude: [...PURE, ...NOT_IN_NPM_TEST, 'node_modules/**'],
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
