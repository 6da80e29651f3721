import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { documentOf, replayHere, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { answerByModel, BY_MODEL, CLIENT, ROUTE, slicedCapture } from './sliced-traffic.ts';

const SLOW = 'latency{model=slow}: p(60)<200';

const lineOf = (document: ReturnType<typeof documentOf>, expression: string) =>
  document.slo.find((line) => line.expression === expression);

test('a slow model fails by its own objective, in every form of the result', async () => {
  const server = await serverOf(answerByModel);
  const config = join(temporaryDirectory(), 'reprise.yaml');
  writeFileSync(
    config,
    `replay:\n  slo:\n    - '${BY_MODEL}'\n    - 'latency{route="${ROUTE}",client=${CLIENT}}: avg<60s'\n    - 'goodput{model=slow}: rate>0.5 where latency<200'\n`,
  );
  const out = join(temporaryDirectory(), 'run');
  const result = await runCommand([
    ...['--config', config, 'replay', slicedCapture(), '--target', server.url, '--out', out, '--json'],
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
  await runCommand(['report', out, '--html', page]);
  const { stdout } = await runCommand(['report', out]);
  for (const text of [stdout, readFileSync(page, 'utf8')])
    expect(text).toContain('latency{model=slow}: p(60)');
});

test('what cannot be meant is refused before anything is sent', async () => {
  const server = await serverOf(answerByModel);
  const directory = slicedCapture();
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

test('a slice without requests ends a run INCONCLUSIVE, with exit 4', async () => {
  const server = await serverOf(answerByModel);
  const result = await replayHere(slicedCapture(), server.url, [
    '--json',
    '--slo',
    'latency{model=gone}: p(60)<2s',
  ]);
  const { verdict, reasons } = documentOf(result);
  expect({ verdict, status: result.status }).toEqual({ verdict: 'INCONCLUSIVE', status: 4 });
  expect(reasons.map(({ code }) => code)).toContain('slice_empty');
});
