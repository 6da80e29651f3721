import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runProcess } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { layK6StandIn } from './k6-stand-in.ts';

const capture = () =>
  captureOf(
    Array.from({ length: 30 }, (_, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 10_000,
        route: 'POST /v2/models/{model}/infer',
        model: ['a', 'b', 'c,d'][at % 3] ?? null,
        request: requestMessage({
          target: `/v2/models/m/infer?n=${at}`,
          body: 'x'.repeat(at === 0 ? 70_000 : 10),
        }),
      }),
    ),
  );

interface Standing {
  readonly sent: readonly { readonly tags: Readonly<Record<string, string>> }[];
  readonly trends: Readonly<Record<string, readonly number[]>>;
  readonly options: { readonly thresholds: Readonly<Record<string, readonly string[]>> };
}

async function exported(mode: string, slo: readonly string[]) {
  const out = join(temporaryDirectory(), 'k6');
  const args = [
    'export',
    'k6',
    capture(),
    '--out',
    out,
    '--pacing',
    mode,
    '--target',
    'http://t:1',
    '--json',
  ];
  const { stdout, stderr, status } = await runCommand([...args, ...slo.flatMap((each) => ['--slo', each])]);
  expect(status, stderr).toBe(0);
  const played = await runProcess(process.execPath, [layK6StandIn(out), '7']);
  expect(played.status, played.stderr).toBe(0);
  return {
    document: JSON.parse(stdout) as Record<'cannotCarry' | 'lost', object>,
    ...(JSON.parse(played.stdout) as Standing),
    out,
  };
}

test('objectives become thresholds on tags that the requests carry, and what k6 cannot hold is said', async () => {
  const { document, options, sent, trends } = await exported('exact', [
    'latency{*model}: p(95)<1s; latency: max<2s',
    'service{route=/v2/models/{model}/infer}: avg<300'.replace(
      '/v2/models/{model}/infer',
      '"/v2/models/{model}/infer"',
    ),
    'errors{size=large}: rate<0.5',
    'ttft{model=a}: p(95)<300; latency{stage=1}: max<3; goodput: rate>0.9 where latency<100',
  ]);
  expect(options.thresholds).toEqual({
    schedule_lag: ['p(99)<50'],
    'scheduled_latency{model:a}': ['p(95)<1000'],
    'scheduled_latency{model:b}': ['p(95)<1000'],
    scheduled_latency: ['max<2000'],
    'service_latency{path:/v2/models/{model}/infer}': ['avg<300'],
    'errors{size:large}': ['rate<0.5'],
    errors: ['rate<0.01'],
  });
  expect(sent[0]?.tags).toEqual({
    name: 'POST /v2/models/{model}/infer',
    model: 'a',
    path: '/v2/models/{model}/infer',
    size: 'large',
  });
  expect(sent[1]?.tags).toMatchObject({ model: 'b', size: 'small' });
  expect(trends['scheduled_latency']).toHaveLength(30);
  for (const ms of trends['service_latency'] ?? []) expect(ms).toBeCloseTo(7, 6);
  const cannot = JSON.stringify(document.cannotCarry);
  for (const each of ['ttft{model=a}: p(95)<300', 'latency{stage=1}: max<3', 'k6 has no goodput']) {
    expect(cannot).toContain(each);
  }
  expect(Object.keys(document.lost).join()).toContain('commas');
});

test('without objectives requests carry no more than their route, and a rate holds no scheduled latency', async () => {
  const { sent, options, out } = await exported('exact', []);
  expect(sent[0]?.tags).toEqual({ name: 'POST /v2/models/{model}/infer' });
  expect(Object.keys(options.thresholds)).toEqual(['schedule_lag']);
  expect(readFileSync(join(out, 'requests.jsonl'), 'utf8')).not.toContain('"g"');
  const rate = await exported('rate', ['latency: p(95)<300; service: p(95)<300']);
  expect(Object.keys(rate.options.thresholds)).toEqual(['dropped_iterations', 'service_latency', 'errors']);
  expect(JSON.stringify(rate.document.cannotCarry)).toContain('--pacing exact');
});
