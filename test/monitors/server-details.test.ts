import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SERVER_DETAILS } from '../../src/core/limits.ts';
import { DetailReader } from '../../src/monitors/server-details.ts';

const reader = new DetailReader(['tenant']);
const read = (place: string, value: unknown) => reader.answer(place, JSON.stringify(value))?.[place];

test('secrets are masked by their names, by what they look like, and by the names that the user adds', () => {
  const answer = {
    ...{ api_key: 'k1', hf_token: 'k2', auth: { password: 'k3' }, tenant: 'k4', header: 'Bearer k5k5k5k5' },
    ...{
      url: 'https://user:k6@hub/m',
      query: 'https://hub/m?access_token=k7',
      model: 'llama',
      max_num_batched_tokens: 8,
    },
  };
  const fields = read('/get_server_info', answer);
  expect(JSON.stringify(fields)).not.toMatch(/k\d/);
  expect(fields).toMatchObject({ api_key: ['(masked)'], model: ['llama'], max_num_batched_tokens: ['8'] });
});

test('what differs at each look, and what would steer a terminal, is left out', () => {
  const answer = {
    version: 'v\u001b[31m1',
    created: 1,
    uptime_s: 7,
    host: 'a',
    internal_states: [{ load: 1 }],
  };
  expect(read('/version', answer)).toEqual({ version: ['v [31m1'] });
});

test('an entry of a list goes by its name, and a list of values is one value', () => {
  expect(read('/v2/models/m/config', { input: [{ name: 'x', dims: [3, 224] }, { name: 'y' }] })).toEqual({
    'input.x.name': ['x'],
    'input.x.dims': ['3, 224'],
    'input.y.name': ['y'],
  });
  const models = {
    data: [
      { id: 'b', n: 1 },
      { id: 'a', n: 2 },
    ],
  };
  expect(read('/v1/models', models)).toMatchObject({ models: ['a, b'], 'a.n': ['2'], 'b.n': ['1'] });
});

test('a long value is told from another by its digest', () => {
  const of = (end: string) => read('/version', { template: 'x'.repeat(500) + end })?.['template']?.[0] ?? '';
  expect(of('a')).not.toBe(of('b'));
  expect(of('a').length).toBeLessThan(SERVER_DETAILS.valueChars + 30);
});

test('whatever a server answers, what is kept of it is bounded', () => {
  fc.assert(
    fc.property(
      fc.json({ maxDepth: 12 }),
      fc.constantFrom('/version', '/v1/models', '/metrics', '/v2'),
      (text, place) => {
        for (const [name, values] of Object.entries(reader.answer(place, text)?.[place] ?? {})) {
          expect(name.length).toBeLessThanOrEqual(SERVER_DETAILS.valueChars);
          for (const value of values)
            expect(value.length).toBeLessThanOrEqual(SERVER_DETAILS.valueChars + 30);
        }
      },
    ),
  );
  const many = Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`f${at}`, at]));
  const fields = read('/version', many) ?? {};
  expect(Object.keys(fields)).toHaveLength(SERVER_DETAILS.fields + 1);
  expect(fields['fields that were left out']).toEqual([String(1_000 - SERVER_DETAILS.fields)]);
  const deep = Array.from({ length: 50 }).reduce<object>((inner) => ({ inner }), { end: 1 });
  expect(read('/version', deep)).toEqual({ 'fields that were left out': ['1'] });
});

test('metrics give the labels of what a server is, and its GPUs', () => {
  const text = [
    'vllm:cache_config_info{num_gpu_blocks="7",instance="a"} 1',
    'python_info{version="3.12"} 1',
    'kube_pod_info{pod="x"} 1',
    'DCGM_FI_DEV_GPU_UTIL{UUID="1",modelName="T4"} 1',
    'DCGM_FI_DEV_GPU_UTIL{UUID="2",modelName="T4"} 1',
  ].join('\n');
  expect(reader.answer('/metrics', text)).toEqual({
    '/metrics': {},
    'vllm:cache_config_info': { num_gpu_blocks: ['7'] },
    python_info: { version: ['3.12'] },
    gpu: { model: ['T4'], count: ['2'] },
  });
  expect(reader.answer('/metrics', '<html>')).toBeNull();
});
