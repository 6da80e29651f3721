import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('a page without a terminal ends with the run, and opens a browser where that was asked for', async () => {
  const server = await serverOf();
  const folder = temporaryDirectory();
  const opened = join(folder, 'opened');
  writeFileSync(join(folder, 'xdg-open'), `#!/bin/sh\necho "$1" > ${opened}\n`);
  chmodSync(join(folder, 'xdg-open'), 0o755);
  const capture = captureOf(requestsOf(200, 5_000));
  const replay = startReprise(
    [
      'replay',
      capture,
      '--target',
      server.url,
      '--out',
      join(folder, 'run'),
      '--slo',
      'errors: rate<0.1',
      '--serve',
      'open',
    ],
    { env: { PATH: `${folder}:${process.env['PATH']}` } },
  );
  const [url = ''] = await replay.waitFor('stderr', /http:\/\/127\.0\.0\.1:\d+\//);
  expect(await (await fetch(url)).text()).toContain('<main data-live');
  const { status, stderr } = await replay.finished;
  expect(stderr).toContain('until the end of the run (no terminal)');
  // Without an objective: a run that is valid, or one that this machine was too busy for.
  expect([0, 4]).toContain(status);
  await expect(fetch(url)).rejects.toThrow();
  expect(readFileSync(opened, 'utf8')).toBe(`${url}\n`);
});
