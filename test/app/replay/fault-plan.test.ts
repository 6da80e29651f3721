import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FaultStatistics } from '../../../src/analysis/run/fault-statistics.ts';
import { readFaultPlan } from '../../../src/app/replay/fault-player.ts';
import { AppError } from '../../../src/core/errors.ts';
import { captureOf } from '../../support/captures.ts';
import { repeated } from '../../support/long-form.ts';
import { replayHere, requestsOf, serverOf } from '../../support/replaying.ts';
import { send } from '../../support/sends.ts';
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
  - { name: later, proxy: a, fault: down, start: 30s, duration: 10s, recovery: 50s }`;
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
    'a quote that is not closed, where it opens',
    'faults:\n  - proxy: "a\n    fault: down\n    start: 1s\n',
    /line 2, column 12: Missing closing/,
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
    /its own name/,
  ],
  [
    'a reserved name',
    'faults: [{ name: none, proxy: a, fault: down, start: 0s, duration: 1s }]',
    /its own name/,
  ],
  [
    'a recovery that another fault interrupts',
    'faults:\n  - { proxy: a, fault: down, start: 10s, duration: 10s, recovery: 60s }\n  - { proxy: b, fault: down, start: 30s, duration: 10s }',
    /line 2, .*recovery: fault b-down begins 10.0 s after this one ends.* 65.0 s.*55.0 s later.*at most 5.0 s/,
  ],
  [
    'a gap that no recovery fits in',
    'faults:\n  - { proxy: a, fault: down, start: 10s, duration: 10s, recovery: 1s }\n  - { proxy: b, fault: down, start: 24s, duration: 10s }',
    /line 2, .*recovery: fault b-down begins 4.0 s after.* 6.0 s.*2.0 s later.*leave out recovery/,
  ],
  [
    'a recovery that the run does not last for',
    'faults:\n  - { proxy: a, fault: down, start: 80s, duration: 10s, recovery: 6s }',
    /line 2, .*recovery: the run ends 10.0 s after.* 11.0 s.*1.0 s earlier.*at most 5.0 s/,
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

test('a replay whose faults leave no time to see a recovery is refused before anything is sent', async () => {
  const server = await serverOf((_, response) => response.end('{}'));
  // 30 s, in which nothing has to be sent.
  const capture = captureOf(requestsOf(300, 100_000));
  const file = join(temporaryDirectory(), 'plan.yaml');
  writeFileSync(
    file,
    `control: 127.0.0.1:1
faults:
  - { proxy: a, fault: down, start: 4s, duration: 2s, recovery: 2s }
  - { proxy: b, fault: down, start: 12s, duration: 2s }`,
  );
  for (const more of [[], ['--dry-run']]) {
    const { status, stderr } = await replayHere(capture, server.url, ['--faults', file, ...more]);
    expect([status, stderr]).toEqual([2, expect.stringContaining('faults.0.recovery')]);
  }
  expect(server.requests).toHaveLength(0);
});

test('every recovery within its limit is seen in a plan that is accepted', () => {
  const time = (most: number) => fc.integer({ min: 0, max: most * 10 }).map((tenths) => tenths / 10);
  const runs = repeated(60, 300);
  let accepted = 0;
  fc.assert(
    fc.property(
      time(60),
      time(20),
      time(60),
      fc.integer({ min: 0, max: 10 }),
      (start, limit, next, share) => {
        const faults = [
          {
            name: 'first',
            proxy: 'a',
            fault: 'down',
            start: `${start}s`,
            duration: '5s',
            recovery: `${limit}s`,
          },
          { name: 'next', proxy: 'b', fault: 'down', start: `${next}s`, duration: '1s' },
        ];
        const text = JSON.stringify({ faults });
        if (problems(text) !== '' || limit === 0) return;
        accepted += 1;
        const plan = read(text);
        const { toNs, recoveredNs } = plan.faults.find(({ name }) => name === 'first')!;
        const goodNs = toNs + Math.round((share / 10) * (recoveredNs - toNs));
        const statistics = new FaultStatistics(plan.faults, 5 * S, { objectives: [], isCompared: false });
        // The judged part lasts from 5 s to 105 s. One request is due exactly when the target has recovered.
        const instants = [goodNs, ...Array.from({ length: 2_001 }, (_, at) => (5 + at / 20) * S)];
        statistics.addSends(
          instants
            .toSorted((a, b) => a - b)
            .map((intendedOffsetNs, index) =>
              send({ index, intendedOffsetNs, status: intendedOffsetNs < goodNs ? 503 : 200 }),
            ),
        );
        const seen = statistics.figures().find(({ window }) => window.name === 'first')!;
        expect(seen.recoveryNs).toBe(goodNs - toNs);
      },
    ),
    { numRuns: runs },
  );
  expect(accepted).toBeGreaterThan(runs / 6);
});
