import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FAST, metered, meteredCapture, seriesOf } from '../integration/metered-runs.ts';
import { runCommand } from '../support/command-here.ts';
import { documentOf, replay, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('a monitor that hangs delays no send, and its gaps are no PASS', async () => {
  let served = 0;
  const server = await serverOf(({ target }, response) => {
    if (target !== '/metrics') {
      served += 1;
      response.end('{}');
    } else if (served < 30) response.end('nv_gpu_utilization 0.5\n');
  });
  const result = await replay(meteredCapture(), server.url, [
    ...FAST,
    ...['--monitor', `${server.url}/metrics`, '--slo', 'gpu_utilization: max<0.95'],
  ]);
  const document = documentOf(result);
  expect(document.sent).toBe(60);
  expect(document.reasons.map(({ code }) => code)).toContain('not_monitored');
  expect(seriesOf(document, 'gpu_utilization')?.missing).toBeGreaterThan(0);
});

test('shards that were merged keep the series of each, and say which of them watched nothing', async () => {
  const server = await serverOf(metered(0.5));
  const directory = meteredCapture();
  const watched = ['--monitor', 'target', '--slo', 'gpu_utilization: max<0.95'];
  const [first, second] = await Promise.all([
    replay(directory, server.url, [...FAST, '--shard', '0/2', ...watched]),
    replay(directory, server.url, [...FAST, '--shard', '1/2', '--slo', 'latency: p(50)<5s']),
  ]);
  const out = join(temporaryDirectory(), 'merged');
  const shards = [first?.out ?? '', second?.out ?? ''];
  const merged = documentOf(
    await runCommand(['merge', ...shards, '--out', out, '--json', '--slo', 'gpu_utilization: max<0.4']),
  );
  expect(merged.verdict).toBe('FAIL');
  expect(merged.monitors?.shardsWithout).toEqual([1]);
  expect(seriesOf(merged, 'gpu_utilization')).toMatchObject({ source: 'shard 0: target', max: 0.5 });
  const generators = merged.monitors?.series.filter(({ name }) => name === 'generator_memory');
  expect(generators?.map(({ source }) => source)).toEqual(['shard 0: generator', 'shard 1: generator']);
  const page = join(temporaryDirectory(), 'report.html');
  await runCommand(['report', out, '--html', page]);
  expect((await runCommand(['report', out])).stdout).toContain('gpu_utilization');
  expect(readFileSync(page, 'utf8')).toContain('Monitored: gpu_utilization');
});
