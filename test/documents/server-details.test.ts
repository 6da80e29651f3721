import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  differencesText,
  joinedDetails,
  type ServerDetails,
  type ServerSide,
  serverDifferences,
} from '../../src/documents/server-details.ts';

const side = (serverDetails: ServerDetails, labels = {}): ServerSide => ({ serverDetails, labels });

test('a value that differs is named with both, and one that only one side has with none', () => {
  const a = side({ '/version': { version: ['0.6.3'], commit: ['a'] }, '/v1/models': { models: ['m'] } });
  const b = side({ '/version': { version: ['0.7.0'] }, '/v1/models': { models: ['m'] } });
  expect(serverDifferences(a, b)).toEqual([
    { fact: '/version commit', a: 'a', b: 'none' },
    { fact: '/version version', a: '0.6.3', b: '0.7.0' },
  ]);
});

test('a place that was asked for and is not there differs, and one that nobody asked for does not', () => {
  const vllm = side({
    '/': {},
    '/version': { version: ['1'] },
    '/metrics': {},
    'vllm:cache_config_info': { n: ['1'] },
  });
  const tgi = side({ '/': {}, '/info': { version: ['1'] } });
  expect(serverDifferences(vllm, tgi).map(({ fact }) => fact)).toEqual(['/info', '/metrics', '/version']);
  expect(serverDifferences(vllm, side({}))).toEqual([]);
  // Only this answer passed by.
  expect(serverDifferences(vllm, side({ '/version': { version: ['1'] } }))).toEqual([]);
  expect(serverDifferences(vllm, side({ answers: { Server: ['nginx'] } }))).toEqual([]);
  expect(serverDifferences(vllm, side({ ...vllm.serverDetails, 'vllm:cache_config_info': {} }))).toEqual([
    { fact: 'vllm:cache_config_info n', a: '1', b: 'none' },
  ]);
});

test('a label differs only if both sides have it', () => {
  expect(
    serverDifferences(side({}, { image: 'a', gpu: 'A100' }), side({}, { image: 'b', commit: 'c' })),
  ).toEqual([{ fact: 'label image', a: 'a', b: 'b' }]);
});

test('several values are one fact, in any order, and at most eight are kept', () => {
  const one = { '/version': { version: ['1', '2'] } };
  expect(serverDifferences(side(one), side({ '/version': { version: ['2', '1'] } }))).toEqual([]);
  const many = Array.from({ length: 20 }, (_, at) => ({ '/version': { version: [String(at)] } }));
  expect(many.reduce<ServerDetails>(joinedDetails, {})['/version']?.['version']).toHaveLength(8);
});

test('more than twenty differences are counted', () => {
  const all = Array.from({ length: 25 }, (_, at) => ({ fact: `f${at}`, a: '1', b: '2' }));
  expect(differencesText(all, 'recorded', 'here')).toMatch(/f19: 1 recorded, 2 here; and 5 more$/);
});

const details = fc.dictionary(
  fc.constantFrom(
    '/version',
    '/v1/models',
    '/v2',
    '/v2/models/a/config',
    '/metrics',
    'x_build_info',
    'answers',
  ),
  fc.dictionary(
    fc.string({ maxLength: 3 }),
    fc.array(fc.string({ maxLength: 3 }), { minLength: 1, maxLength: 3 }),
  ),
);

test('a server never differs from itself, differences are symmetric, and joining it with itself adds nothing', () => {
  fc.assert(
    fc.property(details, details, (one, other) => {
      expect(serverDifferences(side(one), side(one))).toEqual([]);
      const turned = serverDifferences(side(other), side(one)).map(({ fact, a, b }) => ({
        fact,
        a: b,
        b: a,
      }));
      expect(serverDifferences(side(one), side(other))).toEqual(turned);
      expect(serverDifferences(side(joinedDetails(one, one)), side(one))).toEqual([]);
    }),
  );
});
