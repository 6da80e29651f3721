import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { HistoryDocument } from '../../src/documents/history.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

interface Otlp {
  readonly resourceMetrics: {
    readonly resource: { readonly attributes: { key: string; value: { stringValue: string } }[] };
    readonly scopeMetrics: {
      readonly metrics: {
        readonly name: string;
        readonly gauge?: {
          readonly dataPoints: {
            readonly asDouble: number;
            readonly attributes: { key: string; value: { stringValue?: string } }[];
          }[];
        };
      }[];
    }[];
  }[];
}

const LABELS = { build: 'v1.4.2', model: 'v7', commit: '0c1f3a' };

test('what was tested could not be told from a run, its report, its history and its metrics', async () => {
  const server = await serverOf();
  const pushed: Otlp[] = [];
  const receiver = await serverOf((request, response) => {
    if (request.target === '/v1/metrics') pushed.push(JSON.parse(request.body.toString()) as Otlp);
    response.writeHead(200).end();
  });
  const folder = temporaryDirectory();
  const [junit, history, page] = ['verdict.xml', 'history.sqlite', 'report.html'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  const capture = captureOf(requestsOf(50));
  const result = await replayHere(capture, server.url, [
    ...['--json', '--label', 'build=v1.4.2', '--label', 'model=v7', '--label', 'commit=0c1f3a'],
    ...['--history', history, '--ci-report', `junit=${junit}`, '--otlp', receiver.url, '--name', 'nightly'],
    ...['--slo', 'latency: p(50)<60s', '--slo', 'errors: rate<0.5'],
  ]);
  const document = documentOf(result);
  expect(document.labels).toMatchObject(LABELS);
  expect(document.captureDigest).toMatch(/^[\da-f]{16}$/);
  // They name the test's subject, and are no part of the test.
  expect(JSON.stringify(document.options)).not.toContain('v1.4.2');
  const digest = document.captureDigest ?? '';
  const xml = readFileSync(junit, 'utf8');
  for (const [name, value] of Object.entries(LABELS)) {
    expect(xml).toContain(`<property name="label.${name}" value="${value}"/>`);
  }
  expect(xml).toContain(`<property name="capture_digest" value="${digest}"/>`);
  const kept = JSON.parse((await runCommand(['history', history, '--json'])).stdout) as HistoryDocument;
  expect(kept.tests[0]?.runs[0]).toMatchObject({ labels: LABELS, captureDigest: digest });
  expect((await runCommand(['history', history])).stdout).toContain('build v1.4.2');
  const reported = await runCommand([
    'report',
    result.out,
    '--html',
    page,
    '--markdown',
    join(folder, 'a.md'),
  ]);
  expect(reported.status, reported.stderr).toBe(0);
  const [top = ''] = readFileSync(page, 'utf8').split('</header>');
  for (const text of [top, readFileSync(join(folder, 'a.md'), 'utf8').replaceAll('\\', '')]) {
    expect(text).toContain('build v1.4.2');
    expect(text).toContain(digest);
  }
  const last = pushed.at(-1)?.resourceMetrics[0];
  const attributes = (all: readonly { key: string; value: { stringValue?: string } }[] = []) =>
    Object.fromEntries(all.map(({ key, value }) => [key, value.stringValue]));
  expect(attributes(last?.resource.attributes)).toMatchObject({
    'reprise.label.build': 'v1.4.2',
    'reprise.capture.digest': digest,
    'reprise.test': 'nightly',
  });
  const pointsOf = (name: string) =>
    (last?.scopeMetrics[0]?.metrics.find((metric) => metric.name === name)?.gauge?.dataPoints ?? []).map(
      (point) => ({ ...attributes(point.attributes), value: point.asDouble }),
    );
  expect(pointsOf('reprise.replay.info')).toMatchObject([{ ...LABELS, capture_digest: digest, value: 1 }]);
  expect(pointsOf('reprise.replay.verdict')).toMatchObject(
    ['PASS', 'FAIL', 'INCONCLUSIVE'].map((verdict) => ({
      verdict,
      value: Number(verdict === document.verdict),
    })),
  );
  expect(pointsOf('reprise.replay.objective.limit')).toMatchObject(
    document.slo.map(({ expression, limit }) => ({ objective: expression, value: limit })),
  );
  expect(pointsOf('reprise.replay.objective.observed')).toMatchObject(
    document.slo.map(({ expression, observed }) => ({ objective: expression, value: observed })),
  );
});
