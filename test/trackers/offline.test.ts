import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { publishOffline } from '../../src/trackers/offline.ts';
import type { TrackedRun } from '../../src/trackers/tracker.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const directory = temporaryDirectory();

/** A program in place of Python. */
function programOf(script: string): string {
  const path = join(temporaryDirectory(), 'python');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

async function published(script: string, patienceMs?: number) {
  const tracked = { publication: { children: [] } } as unknown as TrackedRun;
  return await publishOffline('wandb', directory, programOf(script), tracked, patienceMs);
}

test('a program that hangs is ended and named as such', async () => {
  await expect(published('exec sleep 60', 100)).rejects.toMatchObject({
    code: 'TRACKER_FAILED',
    message: expect.stringMatching(/gave no answer in/),
    hint: expect.stringContaining(directory),
  });
});

test('a program that is killed is named with the signal', async () => {
  await expect(published('kill -9 $$')).rejects.toMatchObject({
    code: 'TRACKER_FAILED',
    message: expect.stringMatching(/SIGKILL/),
  });
});

test('a program that fails is named with what it said', async () => {
  await expect(published('echo no disk >&2; exit 1')).rejects.toMatchObject({
    message: expect.stringMatching(/no disk/),
  });
});
