import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('a gate plays the scenario that is asked for by the configuration it was started with, says its verdict and its reasons, and ends in order', async () => {
  const server = await serverOf((_, response) => void setTimeout(() => response.end('{}'), 100));
  const folder = temporaryDirectory();
  const scenario = join(folder, 'fail.yaml');
  writeFileSync(
    scenario,
    `capture: ${captureOf(requestsOf(100))}\nslo: 'latency: p(50)<20'\nout: ${join(folder, 'run')}\n`,
  );
  const config = join(folder, 'reprise.yaml');
  writeFileSync(config, `replay:\n  target: ${server.url}\n`);
  const gate = startReprise([
    ...[
      '--config',
      config,
      '--log-format',
      'json',
      'gate',
      '--serve',
      '127.0.0.1:0',
      '--scenario',
      `fail=${scenario}`,
    ],
    // Its second test finds the directory of the first, and comes to nothing.
    ...['--remember', '1ms'],
  ]);
  const [, address] = await gate.waitFor('stderr', /"address":"([^"]+)"/);
  const ask = async (id: string) =>
    await (await fetch(`http://${address}/argo/fail?id=${id}&wait=60s`)).json();
  expect(await ask('rev-1')).toMatchObject({
    result: 'FAIL',
    reasons: [expect.stringMatching(/^slo_violated: latency: p\(50\)<20/)],
    run: expect.any(String),
  });
  expect(server.requests).toHaveLength(100);
  expect(await ask('rev-2')).toMatchObject({
    result: 'INCONCLUSIVE',
    reasons: expect.arrayContaining(['exit status 2', expect.stringContaining('is not empty')]),
  });
  gate.child.kill('SIGTERM');
  expect((await gate.finished).status).toBe(0);
});
