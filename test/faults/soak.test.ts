import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

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
      const { status, stdout, stderr } = await runProcess(process.execPath, [bench, ...flags]);
      expect(stderr).toBe('');
      const { problems, segments, load } = JSON.parse(stdout) as {
        problems: string[];
        segments: number;
        load: { sent: number; answered: number };
      };
      expect(problems).toEqual([]);
      expect(status).toBe(0);
      expect(segments).toBeGreaterThan(1);
      expect(load.answered).toBeGreaterThan(load.sent * 0.9);
    },
    600_000,
  );
});
