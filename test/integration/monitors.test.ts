import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { TEST_EPOCH_US } from '../support/exchanges.ts';
import { documentOf, replayHere, serverOf } from '../support/replaying.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';
import { FAST, metered, meteredCapture, seriesOf } from './metered-runs.ts';

test('metrics found at the target are kept with the run, and counters grow by what the run sent', async () => {
  const server = await serverOf(metered(0.5, (served) => `my_depth ${served > 30 ? 7 : 2}\n`));
  const result = await replayHere(meteredCapture(), server.url, [
    ...FAST,
    ...['--monitor', 'target', '--monitor', 'depth=my_depth'],
    ...['--slo', 'gpu_utilization: max<95%, p(50)<=0.5; depth: max<8; requests: count<61; latency: p(50)<5s'],
  ]);
  const document = documentOf(result);
  // A busy machine bends arrivals; nothing but that may speak against the run.
  expect(document.reasons.filter(({ code }) => code !== 'arrivals_off_plan')).toEqual([]);
  expect(document.slo.map(({ ok }) => ok)).not.toContain(false);
  expect(document.slo.map(({ ok }) => ok)).not.toContain(null);
  expect(seriesOf(document, 'requests')).toMatchObject({ kind: 'counter', change: 60, resets: 0 });
  expect(seriesOf(document, 'depth')).toMatchObject({ max: 7, min: 2, missing: 0, metric: 'my_depth' });
  expect(document.slo.find(({ expression }) => expression === 'gpu_utilization: max<95%')).toMatchObject({
    observed: 0.5,
    limit: 0.95,
    ok: true,
    unit: 'number',
  });
  const [source] = document.monitors?.sources.filter(({ kind }) => kind === 'scrape') ?? [];
  expect(source).toMatchObject({ name: 'target', address: `${server.url}/metrics`, off: null });
  const reader = new RunReader(result.out);
  const stored = reader.monitorSeries().find(({ name }) => name === 'requests');
  const samples = reader.monitorSamples(stored?.series ?? -1);
  reader.close();
  expect(samples[0]).toMatchObject({ value: 0 });
  expect(samples[0]?.offsetNs).toBeLessThan(0);
  expect(samples.at(-1)).toMatchObject({ value: 60 });
});

test('a monitored objective that is violated ends a run FAIL, and the generator is watched unasked', async () => {
  const server = await serverOf(metered(0.97));
  const result = await replayHere(meteredCapture(), server.url, [
    ...FAST,
    ...['--monitor', `${server.url}/metrics`, '--slo', 'gpu_utilization: max<0.95'],
  ]);
  const document = documentOf(result);
  expect({ verdict: document.verdict, status: result.status }).toEqual({ verdict: 'FAIL', status: 3 });
  expect(document.reasons.map(({ code }) => code)).toEqual(['slo_violated']);
  expect(seriesOf(document, 'generator_memory')?.max).toBeGreaterThan(1e7);
  expect(seriesOf(document, 'generator_cpu')?.change).toBeGreaterThan(0);
});

test('without a value a monitored objective is INCONCLUSIVE, and what is no Prometheus is switched off', async () => {
  const server = await serverOf((_, response) => response.end('<html>hello</html>'));
  const result = await replayHere(meteredCapture(), server.url, [
    ...FAST,
    ...['--monitor', `${server.url}/metrics`, '--slo', 'gpu_utilization: max<0.95'],
  ]);
  const document = documentOf(result);
  expect({ verdict: document.verdict, status: result.status }).toEqual({
    verdict: 'INCONCLUSIVE',
    status: 4,
  });
  expect(document.reasons.map(({ code }) => code)).toContain('not_monitored');
  const [source] = document.monitors?.sources.filter(({ kind }) => kind === 'scrape') ?? [];
  expect(source?.off).toContain('no Prometheus text');
  expect(result.stderr.match(/is switched off/g)).toHaveLength(1);
});

test('what cannot be meant is refused before anything is sent', async () => {
  const server = await serverOf();
  const directory = meteredCapture();
  for (const [args, reason] of [
    [['--slo', 'gpu_utilization: max<0.9'], 'needs --monitor'],
    [['--monitor', 'target', '--slo', 'gpu_utilisation: max<0.9'], 'unknown metric gpu_utilisation'],
    [['--monitor', 'target', '--slo', 'gpu_utilization{model=m}: max<0.9'], 'of the whole run'],
    [['--monitor', 'target', '--slo', 'generator_cpu: max<0.9'], 'unknown metric generator_cpu'],
    [['--monitor', 'prom=http://127.0.0.1:9'], '--monitor: a Prometheus is asked for nothing'],
    [['--monitor', 'http://user:word@127.0.0.1:9/metrics'], 'holds credentials'],
    [['--monitor', 'everything'], 'is no monitor'],
    [['--monitor', 'target', '--monitor', 'latency=x'], 'metric of objectives'],
    [['--monitor', 'target', '--monitor', 'depth=sum(x)'], 'only a Prometheus answers'],
    [['--monitor', 'target', '--monitor', 'interval=10ms'], 'below 100ms'],
  ] as const) {
    const { status, stderr } = await replayHere(directory, server.url, args);
    expect({ args, status }).toEqual({ args, status: 2 });
    expect(stderr).toContain(reason);
  }
  expect(server.requests).toHaveLength(0);
});

/** Answers each query with its own instant, or with one value at each step, as the HTTP API of Prometheus does. */
function api(asked: URL[]) {
  return ({ target }: LoggedRequest, response: ServerResponse) => {
    const url = new URL(target, 'http://api');
    if (!url.pathname.startsWith('/api/v1/')) return void response.end('{"outputs":[]}');
    asked.push(url);
    const of = (name: string) => Number(url.searchParams.get(name));
    const metric = { __name__: 'x', pod: 'a' };
    const steps = Math.floor((of('end') - of('start')) / of('step')) + 1;
    const values = Array.from({ length: steps }, (_, at) => [of('start') + at * of('step'), String(at)]);
    const result = url.pathname.endsWith('_range') ? [{ metric, values }] : [{ metric, value: [1, '7'] }];
    const type = url.pathname.endsWith('_range') ? 'matrix' : 'vector';
    response.end(JSON.stringify({ status: 'success', data: { resultType: type, result } }));
  };
}

test('a Prometheus is asked for the run and for the recorded window, which may have a query of its own', async () => {
  const asked: URL[] = [];
  const server = await serverOf(api(asked));
  const result = await replayHere(meteredCapture(), server.url, [
    ...[...FAST, '--monitor', `prom=${server.url}`, '--monitor', 'depth=sum(x)'],
    ...['--monitor', 'depth@recorded=sum(y)', '--slo', 'depth: max<8'],
  ]);
  const document = documentOf(result);
  expect(seriesOf(document, 'depth')).toMatchObject({
    kind: 'gauge',
    labels: { pod: 'a' },
    max: 7,
    missing: 0,
    recorded: { min: 0, max: 11, samples: 12 },
  });
  const range = asked.find(({ pathname }) => pathname.endsWith('query_range'));
  expect(range?.searchParams.get('query')).toBe('sum(y)');
  expect(Number(range?.searchParams.get('start'))).toBeCloseTo(TEST_EPOCH_US / 1e6, 3);
  expect(Number(range?.searchParams.get('end'))).toBeCloseTo(TEST_EPOCH_US / 1e6 + 59 * 0.02, 3);
  expect(document.monitors?.notes).toEqual([]);
});
