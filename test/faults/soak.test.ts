import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const PLAYS = 2;
/** What the bench says where a process holds more or less in the second half than in the first. */
const DRIFT = /: (?:memory|descriptors) went from /;

interface Verdict {
  readonly problems: readonly string[];
  readonly segments: number;
  readonly load: { readonly sent: number; readonly answered: number };
}

describe('five minutes of mixed traffic', () => {
  // Both at once: neither takes a core.
  test.concurrent.each([
    ['wire', 5],
    ['gateway', 5],
  ])(
    'leave memory, descriptors, log and quota as they were, %s',
    async (mode, minutes) => {
      const bench = join(repositoryRoot, 'bench', 'soak.ts');
      const flags = ['--minutes', String(minutes), '--mode', mode, '--json'];
      for (let play = 1; play <= PLAYS; play += 1) {
        const { status, stdout, stderr } = await runProcess(process.execPath, [bench, ...flags]);
        expect(stderr).toBe('');
        const { problems, segments, load } = JSON.parse(stdout) as Verdict;
        expect(segments).toBeGreaterThan(1);
        expect(load.answered).toBeGreaterThan(load.sent * 0.9);
        // When V8 collects, and how many connections a machine with a busy half has open at once, differs from run
        // to run: what leaks does so in each. Only where drift is all that is wrong is it played again; everything
        // else must hold in every play.
        const again = play < PLAYS && problems.length > 0 && problems.every((line) => DRIFT.test(line));
        if (again) continue;
        expect(problems).toEqual([]);
        expect(status).toBe(0);
        return;
      }
    },
    1_200_000,
  );
});
