import { join } from 'node:path';
import { expect, test } from 'vitest';
import { answerByModel, BY_MODEL, CLIENT, slicedCapture } from '../integration/sliced-traffic.ts';
import { runReprise } from '../support/process.ts';
import { documentOf, replayHere, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('shards that were merged are judged by the same slices as one run, stages and clients too', async () => {
  const server = await serverOf(answerByModel);
  const directory = slicedCapture();
  const objectives = [BY_MODEL, `latency{client=${CLIENT}}: avg<60s`, 'latency{*stage}: avg<60s'];
  const slo = objectives.flatMap((each) => ['--slo', each]);
  const plan = ['--stages', '1s@1x,1s@0.5x', '--scaling', 'compress', '--json'];
  const [whole, ...shards] = await Promise.all([
    replayHere(directory, server.url, [...plan, ...slo]),
    ...[0, 1].map((index) => replayHere(directory, server.url, [...plan, '--shard', `${index}/2`])),
  ]);
  const out = join(temporaryDirectory(), 'merged');
  const merged = await runReprise([
    ...['merge', ...shards.map((shard) => shard.out), '--out', out, '--json', ...slo],
  ]);
  const parts = (result: Parameters<typeof documentOf>[0]) =>
    documentOf(result).slo.map(({ expression, requests }) => [expression, requests]);
  expect(parts(merged)).toEqual(parts(whole));
  expect(merged.status).toBe(3);
  const stages = documentOf(whole).slo.filter(({ slice }) => slice?.['stage'] !== undefined);
  expect(stages.map(({ slice, requests }) => [slice?.['stage'], requests])).toEqual([
    ['1', 200],
    ['2', 100],
  ]);
});
