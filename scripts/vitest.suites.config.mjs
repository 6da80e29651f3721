// The suites that `npm test` leaves out, because they need a browser, a peer tool, a broken disk, or data
// and minutes. CI runs independent ones several at a time (`--maxWorkers`).
import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';

/** Files of a minute and more, the longest first: one that came last would run alone. */
const LONG = [
  'compare',
  'bit-flips',
  'capacity-targets',
  'scenario-presets',
  'drains',
  'leaks',
  'writer-faults-wire',
].map((name) => `/test/faults/${name}.test.ts`);

class LongestFirst extends BaseSequencer {
  async sort(files) {
    const place = ({ moduleId }) => {
      const at = LONG.findIndex((name) => moduleId.endsWith(name));
      return at === -1 ? LONG.length : at;
    };
    return (await super.sort(files)).toSorted((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  test: {
    include: ['test/{browser,docs,peers,faults,alone,scale}/**/*.test.ts'],
    setupFiles: ['test/support/setup.ts'],
    pool: 'forks',
    sequence: { sequencer: LongestFirst },
    maxWorkers: 1,
    // As in npm test: hundreds of tests start the command. What measures it starts it without.
    env: { NODE_COMPILE_CACHE: new URL('../node_modules/.cache/compiled', import.meta.url).pathname },
    testTimeout: 300_000,
    hookTimeout: 120_000,
    // What is waited for comes on a busy machine too, only later.
    expect: { poll: { timeout: 30_000 } },
  },
});
