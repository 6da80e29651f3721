import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runPeer } from '../support/peer-run.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('two workers that need one missing tool at once make it once, and both have it whole', async () => {
  const folder = temporaryDirectory();
  const program = join(repositoryRoot, 'test', 'peers', 'programs', 'install_once.ts');
  const ended = await Promise.all([
    runPeer(process.execPath, [program, folder, 'a', 'b']),
    runPeer(process.execPath, [program, folder, 'b', 'a']),
  ]);
  const path = join(folder, 'cache', 'tool', 'program');
  for (const { status, said, stdout } of ended) {
    expect(status, said).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ path });
  }
  expect(readFileSync(join(folder, 'made'), 'utf8')).toMatch(/^[ab]\n$/);
  expect(readFileSync(path, 'utf8')).toBe('whole\n');
});
