import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readFaultPlan } from '../../../src/app/replay/fault-player.ts';
import { AppError } from '../../../src/core/errors.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const S = 1e9;

function read(text: string) {
  const file = join(temporaryDirectory(), 'plan.yaml');
  writeFileSync(file, text);
  return readFaultPlan(file, 100 * S, 5 * S);
}

function problems(text: string): string {
  try {
    read(text);
  } catch (error) {
    if (error instanceof AppError && error.code === 'OPTION_INVALID') return error.message;
    throw error;
  }
  return '';
}

test('a plan lies behind the warm-up, by times and by shares of the run, in the order of its starts', () => {
  const { control, faults } = read(`
faults:
  - { proxy: redis, fault: down, start: 40%, duration: 20%, during: 'errors: rate<=1', recovery: 10s }
  - { name: slow, proxy: api, fault: http_delay, attributes: { delay: 50 }, start: 500ms, duration: 30s }
`);
  expect(control).toBe('127.0.0.1:8474');
  expect(
    faults.map(({ stated: _, during, ...window }) => [window, during.map(({ expression }) => expression)]),
  ).toEqual([
    [{ name: 'slow', fromNs: 5.5 * S, toNs: 35.5 * S, recoveredNs: 35.5 * S, isJudgedApart: false }, []],
    [
      { name: 'redis-down', fromNs: 45 * S, toNs: 65 * S, recoveredNs: 75 * S, isJudgedApart: true },
      ['errors{fault=redis-down}: rate<=1'],
    ],
  ]);
});

test('faults that are on at once are played, where no time to recover is stated', () => {
  const text = `
faults:
  - { proxy: a, fault: down, start: 10s, duration: 10s }
  - { proxy: b, fault: down, start: 15s, duration: 10s }
  - { name: later, proxy: a, fault: down, start: 30s, duration: 10s, recovery: 60s }`;
  expect(read(text).faults).toHaveLength(3);
});

test.each([
  ['an empty file', '', /faults|object/],
  ['an unknown key', 'faults: [{ proxy: a, fault: down, start: 1s, duration: 1s, when: 2s }]', /when/],
  ['an unknown fault', 'faults: [{ proxy: a, fault: flood, start: 1s, duration: 1s }]', /line 1.*fault/],
  [
    'an unknown attribute',
    'faults: [{ proxy: a, fault: latency, attributes: { delay: 1 }, start: 1s, duration: 1s }]',
    /delay/,
  ],
  [
    'a time that is none',
    'faults:\n  - { proxy: a, fault: down, start: soon, duration: 1s }',
    /line 2, column \d+: .*soon/,
  ],
  ['a start behind the run', 'faults: [{ proxy: a, fault: down, start: 2m, duration: 1s }]', /over after/],
  [
    'a share above 100 %',
    'faults: [{ proxy: a, fault: down, start: 0s, duration: 101% }]',
    /more than the run/,
  ],
  ['no duration', 'faults: [{ proxy: a, fault: down, start: 0s, duration: 0s }]', /is 0/],
  [
    'a name twice',
    'faults: [{ proxy: a, fault: down, start: 0s, duration: 1s }, { proxy: a, fault: down, start: 5s, duration: 1s }]',
    /name of its own/,
  ],
  [
    'a reserved name',
    'faults: [{ name: none, proxy: a, fault: down, start: 0s, duration: 1s }]',
    /name of its own/,
  ],
  [
    'a recovery that reaches into another fault, so that nothing would judge that one',
    'faults:\n  - { proxy: a, fault: down, start: 10s, duration: 10s, recovery: 60s }\n  - { proxy: b, fault: down, start: 30s, duration: 10s }',
    /line 2, .*recovery: reaches into fault b-down/,
  ],
  [
    'a proxy that is down twice at once',
    'faults:\n  - { proxy: a, fault: down, start: 10s, duration: 10s }\n  - { name: again, proxy: a, fault: down, start: 15s, duration: 10s }',
    /line 3, .*has a down at that time/,
  ],
  [
    'an objective of the whole run',
    "faults: [{ proxy: a, fault: down, start: 0s, duration: 1s, during: 'mismatch: rate<0.1' }]",
    /mismatch/,
  ],
])('a plan with %s is refused with its place', (_, text, message) => {
  expect(problems(text)).toMatch(message);
});
