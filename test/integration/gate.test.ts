import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('a gate refuses at once what it could not do later', async () => {
  const file = join(temporaryDirectory(), 'scenario.yaml');
  writeFileSync(file, 'capture: c\nmultiplyer: 2\n');
  for (const [args, said] of [
    [['--serve', '127.0.0.1:0', '--scenario', `a=${file}`], 'line 2, column 1: multiplyer'],
    [['--serve', '0.0.0.0:0', '--scenario', 'noname'], 'other hosts could start tests'],
  ] as const) {
    const { status, stderr } = await runCommand(['gate', ...args]);
    expect(status).toBe(2);
    expect(stderr).toContain(said);
  }
});
