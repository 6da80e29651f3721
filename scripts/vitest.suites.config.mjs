// The suites that `npm test` leaves out. They need a browser, a peer tool, a broken disk, or large data and minutes. CI
// runs independent ones in parallel (`--maxWorkers`).
import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';

/** Files that take a minute or more, the longest first. At the end, such a file would run alone. */
const LONG = [
  'soak',
  'hostile-targets',
  'capacity',
  'capacity-targets',
  'scenario-presets',
  'replay-live-agents',
  'server-details',
  'probes',
  'drains',
  'leaks',
  'bit-flips',
  // These take a processor each: they come after runs that are judged by when requests leave.
  'failing-recording',
  'deaths',
  'writer-faults-wire',
].map((name) => `/${name}.test.ts`);

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
    // As in npm test: hundreds of tests start the command. Tests that measure it start it without this cache.
    env: { NODE_COMPILE_CACHE: new URL('../node_modules/.cache/compiled', import.meta.url).pathname },
    testTimeout: 300_000,
    hookTimeout: 120_000,
    // Long time-outs, because a busy machine is only slower.
    expect: { poll: { timeout: 30_000 } },
  },
});
