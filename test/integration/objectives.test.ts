import { readFileSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';
import { documentOf, replayHere, serverOf } from '../support/replaying.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const COUNT = 300;
/** Far over its limit for certain; what keeps its limit has all the time that a busy machine may take. */
const SLOW_MS = 400;
const CLIENT = 'c0ffee0000000001';
const ROUTE = 'POST /v2/models/{model}/infer';

/** A third to a model that is slow, from one client in ten. */
const capture = () =>
  captureOf(
    Array.from({ length: COUNT }, (_, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 5_000,
        route: ROUTE,
        model: at % 3 === 0 ? 'slow' : 'fast',
        client: at % 10 === 0 ? Buffer.from(CLIENT, 'hex') : null,
        request: requestMessage({ target: `/v2/models/${at % 3 === 0 ? 'slow' : 'fast'}/infer?n=${at}` }),
      }),
    ),
  );

const answer = ({ target }: LoggedRequest, response: ServerResponse) =>
  void setTimeout(() => response.end('{}'), target.includes('/slow/') ? SLOW_MS : 0);

const BY_MODEL = 'latency{*model}: p(60)<200';
const SLOW = 'latency{model=slow}: p(60)<200';

const lineOf = (document: ReturnType<typeof documentOf>, expression: string) =>
  document.slo.find((line) => line.expression === expression);

test('a slow model fails by its own objective, in every form of the result', async () => {
  const server = await serverOf(answer);
  const config = join(temporaryDirectory(), 'reprise.yaml');
  writeFileSync(
    config,
    `replay:\n  slo:\n    - '${BY_MODEL}'\n    - 'latency{route="${ROUTE}",client=${CLIENT}}: avg<60s'\n    - 'goodput{model=slow}: rate>0.5 where latency<200'\n`,
  );
  const out = join(temporaryDirectory(), 'run');
  const result = await runReprise([
    ...['--config', config, 'replay', capture(), '--target', server.url, '--out', out, '--json'],
  ]);
  const document = documentOf(result);
  expect({ verdict: document.verdict, status: result.status }).toEqual({ verdict: 'FAIL', status: 3 });
  expect(lineOf(document, SLOW)).toMatchObject({ ok: false, slice: { model: 'slow' }, requests: 100 });
  expect(lineOf(document, 'latency{model=fast}: p(60)<200')).toMatchObject({ requests: 200 });
  expect(lineOf(document, `latency{route="${ROUTE}",client=${CLIENT}}: avg<60s`)).toMatchObject({
    ok: true,
    slice: { route: ROUTE, client: CLIENT },
    requests: 30,
  });
  expect(lineOf(document, 'goodput{model=slow}: rate>0.5 where latency<200')).toMatchObject({
    ok: false,
    observed: 0,
    unit: 'share',
    goodput: { good: 0, perSecond: 0, unknown: 0 },
  });
  expect(lineOf(document, 'errors: rate<0.01')).toMatchObject({ ok: true, slice: null, requests: null });
  const page = join(temporaryDirectory(), 'report.html');
  const report = await runReprise(['report', out, '--html', page]);
  for (const text of [report.stdout, readFileSync(page, 'utf8')])
    expect(text).toContain('latency{model=slow}: p(60)');
});

test('what cannot be meant is refused before anything is sent', async () => {
  const server = await serverOf(answer);
  const directory = capture();
  for (const [slo, reason] of [
    ['latency{modle=slow}: p(60)<200', 'unknown slice key modle'],
    ['latency{stage=2}: p(60)<200', 'the run has 1 stage'],
    [`latency{route=${ROUTE}}: p(60)<200`, 'without its end'],
  ] as const) {
    const { status, stderr } = await replayHere(directory, server.url, ['--slo', slo]);
    expect(status).toBe(2);
    expect(stderr).toContain(reason);
  }
  expect(server.requests).toHaveLength(0);
});

test('shards that were merged are judged by the same slices as one run, stages and clients too', async () => {
  const server = await serverOf(answer);
  const directory = capture();
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

test('a slice without requests ends a run INCONCLUSIVE, with exit 4', async () => {
  const server = await serverOf(answer);
  const result = await replayHere(capture(), server.url, [
    '--json',
    '--slo',
    'latency{model=gone}: p(60)<2s',
  ]);
  const { verdict, reasons } = documentOf(result);
  expect({ verdict, status: result.status }).toEqual({ verdict: 'INCONCLUSIVE', status: 4 });
  expect(reasons.map(({ code }) => code)).toContain('slice_empty');
});
