import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { repeated } from '../support/long-form.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

/** The bench warms up for 90 s; as long again lets memory settle in both halves of what it judges. */
const MINUTES = repeated(3, 60);

describe(`${MINUTES} minutes of mixed traffic`, () => {
  // Both at once: neither takes a core.
  test.concurrent.each([['wire'], ['gateway']])(
    'leave memory, descriptors, log and quota as they were, %s',
    async (mode) => {
      const bench = join(repositoryRoot, 'bench', 'soak.ts');
      const flags = ['--minutes', String(MINUTES), '--mode', mode, '--json'];
      const { status, stdout, stderr } = await runProcess(process.execPath, [bench, ...flags]);
      expect(stderr).toBe('');
      const { problems, segments, load } = JSON.parse(stdout) as {
        problems: string[];
        segments: number;
        load: { sent: number; answered: number };
      };
      expect(problems.join('; ')).toBe('');
      expect(status).toBe(0);
      expect(segments).toBeGreaterThan(1);
      expect(load.answered).toBeGreaterThan(load.sent * 0.9);
    },
    (MINUTES + 5) * 60_000,
  );
});
