import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ComparisonDocument } from '../../src/documents/comparison.ts';
import { captureOf } from '../support/captures.ts';
import { runReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('a B that refuses everything is stopped by the guard, ends the replay with 5, and is worse', async () => {
  const a = await serverOf();
  const b = await serverOf((_, response) => {
    response.statusCode = 404;
    response.end();
  });
  const capture = captureOf(requestsOf(80, 100_000));
  const out = join(temporaryDirectory(), 'runs');
  const targets = [a, b].flatMap(({ url }) => ['--target', url]);
  const args = ['--repeat', '2', '--out', out, '--json', '--lag-bound', '60s'];
  const done = await runReprise(['replay', capture, ...targets, ...args]);
  expect(done.status, done.stderr).toBe(5);
  const document = JSON.parse(done.stdout) as ComparisonDocument;
  expect(document).toMatchObject({ verdict: 'WORSE', b: { stopped: { cause: 'RUN_ABORTED' } } });
  expect(a.requests.length).toBe(80);
  expect(readdirSync(out).sort()).toEqual(['01-A', '02-B', 'comparison.json']);
});
