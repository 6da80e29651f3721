import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ComparisonDocument } from '../../src/documents/comparison.ts';
import { captureOf } from '../support/captures.ts';
import { poissonOf } from '../support/poisson.ts';
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

test('a gate alternates two builds further while it cannot tell them apart, and says how much longer it would take', async () => {
  const order: string[] = [];
  const named = (name: string) =>
    serverOf((_, response) => {
      if (order.at(-1) !== name) order.push(name);
      setTimeout(() => response.end('{"outputs":[]}'), 20);
    });
  const [a, b] = [await named('A'), await named('B')];
  const folder = temporaryDirectory();
  const scenario = join(folder, 'two.yaml');
  const out = join(folder, 'runs');
  // Two runs have too few requests for a percentile of windows.
  const exchanges = poissonOf({ count: 300, ratePerSecond: 200, seed: 7, answerMs: 20, answer: '{}' });
  writeFileSync(
    scenario,
    `capture: ${captureOf(exchanges)}\nlag-bound: 60s\ntarget: ['${a.url}', '${b.url}']\nout: ${out}\n`,
  );
  const gate = startReprise([
    ...['--log-format', 'json', 'gate', '--serve', '127.0.0.1:0', '--scenario', `two=${scenario}`],
    ...['--budget', '60s'],
  ]);
  const [, address] = await gate.waitFor('stderr', /"address":"([^"]+)"/);
  const answer = await fetch(`http://${address}/argo/two?id=rev-1&wait=10m`);
  const end = (await answer.json()) as { readonly result: string; readonly reasons: readonly string[] };
  const comparison: ComparisonDocument = JSON.parse(readFileSync(join(out, 'comparison.json'), 'utf8'));
  const runs = readdirSync(out).filter((name) => name !== 'comparison.json');
  expect(runs.length, JSON.stringify([comparison.verdict, comparison.reasons])).toBeGreaterThanOrEqual(8);
  const played = runs.sort((one, other) => Number.parseInt(one, 10) - Number.parseInt(other, 10));
  expect(played.map((name) => name.at(-1)).join('')).toBe('ABBA'.repeat(runs.length / 4));
  expect(a.requests.length + b.requests.length).toBe(300 * runs.length);
  // The error of each comparison is its part of all that the budget allows.
  expect(comparison.bounds['looks']).toBeGreaterThanOrEqual(2);
  const results: Record<string, string> = { SAME: 'PASS', BETTER: 'PASS', WORSE: 'FAIL' };
  expect(end.result).toBe(results[comparison.verdict] ?? 'INCONCLUSIVE');
  const isOpen = comparison.moreS !== null;
  expect({ isOpen, isNamed: JSON.stringify(end.reasons).includes('more_needed') }).toEqual({
    isOpen,
    isNamed: isOpen,
  });
  gate.child.kill('SIGTERM');
  expect((await gate.finished).status).toBe(0);
}, 300_000);
