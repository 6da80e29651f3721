import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ask } from '../../src/app/recorder-control.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

// Its recording may run and forward: it is starting, or cannot have the directory.
test.each([
  ['is not there yet', 'none'],
  ['is no capture yet', 'empty'],
  ['leads through a file', 'file/x'],
])('no recording answers where the directory %s', async (_, name) => {
  const home = temporaryDirectory();
  mkdirSync(join(home, 'empty'));
  writeFileSync(join(home, 'file'), '');
  await expect(ask(join(home, name), 'GET', '/status')).rejects.toMatchObject({
    code: 'RECORDER_UNREACHABLE',
    message: expect.stringContaining(`${name} is not a capture`),
    hint: expect.stringContaining('its log'),
  });
});
