import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import { CAPACITY_OPTIONS, resolveCapacityOptions } from '../../../src/app/capacity/options.ts';
import { begunBefore } from '../../../src/app/capacity/step.ts';
import { byProgram, type StatedOptions } from '../../../src/core/options.ts';

const ASKED = { target: 'http://127.0.0.1:1', slo: 'latency: p(99)<200' };

function resolved(stated: StatedOptions<typeof CAPACITY_OPTIONS>) {
  return resolveCapacityOptions(byProgram(CAPACITY_OPTIONS, { ...ASKED, ...stated }));
}

function refusal(stated: StatedOptions<typeof CAPACITY_OPTIONS>): string {
  try {
    resolved(stated);
  } catch (thrown) {
    return String(thrown);
  }
  return 'nothing is refused';
}

describe('the options of a search', () => {
  test('have defaults, and the implied objective', () => {
    const { run, objectives, ...own } = resolved({});
    expect(own).toMatchObject({
      budgetS: 600,
      width: 0.1,
      windowS: null,
      maxMultiplier: 64,
      minMultiplier: 0.1,
      calibrates: true,
      coolDownMs: 1_000,
      replicas: 1,
      isScalingStated: false,
    });
    expect(run.options).toMatchObject({ multiplier: 1, calibrateMs: null, warmupMs: null, shard: null });
    expect(objectives.map(({ expression }) => expression)).toEqual([
      'latency: p(99)<200',
      'errors: rate<0.01',
    ]);
  });

  test.each([
    [{ slo: [] }, '--slo is missing'],
    [{ slo: 'makespan: <4h' }, 'makespan is of a whole run'],
    [{ slo: 'mismatch: rate<0.01' }, 'mismatch is of a whole run'],
    [{ scaling: 'superpose' }, '--scaling superpose cannot be searched'],
    [{ multiplier: '5..2' }, 'has a least multiplier above the greatest'],
    [{ budget: '5s' }, '--budget is less than 10s'],
    [{ width: '0.9' }, '--width'],
    [{ readyWhen: 'staging/ready' }, '--ready-when'],
    [
      { readyWhen: 'http://a/ready', monitor: 'prom=http://b:9090' },
      '--monitor: a Prometheus is asked for nothing',
    ],
    [{ replicas: '2,cost=much' }, '--replicas cost'],
    [{ compareAt1x: 'maybe' as never }, '--compare-at-1x'],
  ] as const)('refuse %o', (stated, problem) => {
    expect(refusal(stated as StatedOptions<typeof CAPACITY_OPTIONS>)).toContain(problem);
  });

  test('give each tier the objectives of --slo, and its own', () => {
    const { tiers, objectives, run } = resolved({
      slo: 'ttft: p(95)<900',
      tier: ['gold=latency: p(99)<200; errors: rate<0.001', 'silver=latency: p(99)<800'],
    });
    const texts = tiers.map(({ objectives }) => objectives.map(({ expression }) => expression));
    expect(tiers.map(({ name }) => name)).toEqual(['gold', 'silver']);
    expect(texts).toEqual([
      ['ttft: p(95)<900', 'latency: p(99)<200', 'errors: rate<0.001'],
      // What gold states of errors bounds no other tier.
      ['ttft: p(95)<900', 'latency: p(99)<800', 'errors: rate<0.01'],
    ]);
    const all = [...new Set(texts.flat())];
    expect(objectives.map(({ expression }) => expression)).toEqual(all);
    expect(run.options.slo).toEqual(all);
  });

  test('bound refusals in every tier where one states its own bound', () => {
    const { tiers } = resolved({ tier: ['gold=rejected: rate<0.001', 'silver=latency: p(99)<800'] });
    expect(tiers[1]?.objectives.map(({ expression }) => expression)).toContain('rejected: rate<0.01');
  });

  test.each([
    ['gold', 'is not NAME=OBJECTIVES'],
    ['gold=latency: p(99)', '--tier gold: '],
    ['=latency: p(99)<200', 'is not NAME=OBJECTIVES'],
  ])('refuse a tier that states nothing: %s', (tier, message) => {
    expect(refusal({ tier })).toContain(message);
    expect(refusal({ tier: ['gold=latency: p(99)<1', 'gold=latency: p(99)<2'] })).toContain('stated twice');
  });

  test('do not know what the search decides by itself', () => {
    expect(() => resolved({ stages: '1m@2x' } as never)).toThrow('there is no option stages');
  });
});

test('a query of a Prometheus holds where it returns something', async () => {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const query = new URL(request.url ?? '', 'http://x').searchParams.get('query') ?? '';
    asked.push(query);
    const result = query === 'up == 1' ? [{ metric: {}, value: [1, '1'] }] : [];
    response.end(JSON.stringify({ status: 'success', data: { resultType: 'vector', result } }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const prom = `prom=http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { readyWhen } = resolved({ monitor: prom, readyWhen: 'up == 1' });
  if (readyWhen === null || !('promql' in readyWhen)) throw new Error('it was to be a query');
  const signal = AbortSignal.timeout(5_000);
  expect(await readyWhen.prometheus.returns(readyWhen.promql, signal)).toBe(true);
  expect(await readyWhen.prometheus.returns('up == 0', signal)).toBe(false);
  expect(asked).toEqual(['up == 1', 'up == 0']);
  server.close();
});

describe('a step that begins within the recording', () => {
  const parts = [
    { fromUs: 0, toUs: 100 },
    { fromUs: 500, toUs: 600 },
  ];

  test.each([
    [0, parts],
    [-50e-6, [{ fromUs: 50, toUs: 100 }, parts[1], { fromUs: 0, toUs: 50 }]],
    [100e-6, [parts[1], parts[0]]],
    [50e-6, [{ fromUs: 550, toUs: 600 }, parts[0], { fromUs: 500, toUs: 550 }]],
    [650e-6, [{ fromUs: 550, toUs: 600 }, parts[0], { fromUs: 500, toUs: 550 }]],
    [400e-6, parts],
  ])('%f s before its first window plays all of it', (beforeS, expected) => {
    expect(begunBefore(parts, beforeS)).toEqual(expected);
  });
});
