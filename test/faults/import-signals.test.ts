import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startReprise } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test.each([
  ['a quiet pipe', 't\n1\n'],
  ['a pipe that nobody writes to', null],
])(
  'an import that waits for %s is stopped by a signal at once and leaves nothing behind',
  async (_, written) => {
    const folder = temporaryDirectory();
    const pipe = join(folder, 'pipe');
    expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
    const writer = written === null ? null : openSync(pipe, 'r+');
    if (writer !== null) writeSync(writer, written ?? '');
    const child = startReprise([
      'import',
      'arrivals',
      pipe,
      '--time=t',
      '--unit=s',
      `--out=${join(folder, 'capture')}`,
    ]);
    while (readdirSync(folder).length === 1) await new Promise((resolve) => setTimeout(resolve, 20));
    const done = await child.kill('SIGTERM');
    if (writer !== null) closeSync(writer);
    expect(done).toMatchObject({ status: 143, signal: null });
    expect(readdirSync(folder)).toEqual(['pipe']);
  },
);

test('an import stopped by SIGINT in the midst of its work leaves nothing behind and exits 130', async () => {
  // Some seconds of work, of which a few milliseconds are done when the signal comes.
  const folder = temporaryDirectory();
  const file = join(folder, 'trace.csv');
  writeFileSync(file, `t\n${'1\n'.repeat(3_000_000)}`);
  const out = join(folder, 'capture');
  const child = startReprise(['import', 'arrivals', file, '--time=t', '--unit=s', `--out=${out}`]);
  while (readdirSync(folder).length === 1) await new Promise((resolve) => setTimeout(resolve, 20));
  const done = await child.kill('SIGINT');
  expect(done.status).toBe(130);
  expect(done.stderr).toContain('stopped by SIGINT');
  expect(readdirSync(folder)).toEqual(['trace.csv']);
});
