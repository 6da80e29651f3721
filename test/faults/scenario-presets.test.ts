import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type PresetName, SCENARIO_PRESETS } from '../../src/app/gate/scenario-presets.ts';
import { captureOf } from '../support/captures.ts';
import { runReprise, startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Each preset in some seconds, all of it as it stands but for its length. */
const SHORT: Readonly<Record<PresetName, readonly string[]>> = {
  sustained: ['window=peak=2s', 'duration=3s', 'warmup=500ms'],
  spike: ['window=peak=2s', 'stages=1s@1x,500ms@4x,1s@1x', 'duration=2500ms'],
  soak: ['duration=5s'],
  // A recovery is believed when it has lasted for five seconds.
  'dependency-outage': ['window=peak=10s', 'duration=10s'],
  capacity: [
    'window=peak=2s',
    'step=1s',
    'budget=30s',
    'timeout=drain=1s',
    'multiplier=2',
    'compare-at-1x=off',
    'cool-down=0s',
  ],
  statement: ['budget=90s', 'max-rate=400', 'timeout=drain=1s', 'compare-at-1x=off', 'cool-down=0s'],
  'release-gate': ['window=peak=2s', 'duration=3s', 'compare-at-1x=2s,p50=1000,size=1'],
};
const STATUS: Readonly<Record<string, number>> = { PASS: 0, FAIL: 3, INCONCLUSIVE: 4 };

/** A machine that is busy with other tests keeps no schedule to a millisecond. */
const OUR_LATENESS = [
  'arrivals_off_plan',
  'lag_over_bound',
  'generator_paused',
  'achieved_below',
  'in_flight_cap',
];

/** As recorded. */
const ANSWER = '{"outputs":[]}';

const direct = async (target: string) => ({ target, settings: [] as string[] });

/** A relay before the server, which makes it slow for the second second of the run. */
async function relayed(url: string) {
  const relay = startReprise([
    ...['--log-format', 'json', 'faults', '--control', '127.0.0.1:0', '--listen', 'model=127.0.0.1:0'],
    ...['--target', new URL(url).host],
  ]);
  const [, listen] = await relay.waitFor('stderr', /"listen":"(127[^"]+)"/);
  const [, control] = await relay.waitFor('stderr', /"control":"(127[^"]+)"/);
  const plan = join(temporaryDirectory(), 'plan.yaml');
  const fault =
    '{name: slow, proxy: model, fault: latency, attributes: {latency: 100}, start: 1s, duration: 1s';
  writeFileSync(
    plan,
    `control: ${control}\nfaults:\n  - ${fault}, during: 'errors: rate<0.5', recovery: 2s}\n`,
  );
  return { target: `http://${listen}`, settings: [`faults=${plan}`] };
}

/** Plays a preset on three seconds of a hundred requests each, or eleven. */
async function play(
  preset: PresetName,
  answerMs: number,
  more: readonly string[] = [],
  through = direct,
  answer = ANSWER,
) {
  const server = await serverOf(
    (_, response) =>
      void setTimeout(() => {
        response.setHeader('content-type', 'application/json');
        response.end(answer);
      }, answerMs),
  );
  const { target, settings } = await through(server.url);
  const folder = join(temporaryDirectory(), 'it');
  mkdirSync(folder);
  const junit = join(folder, 'verdict.xml');
  const sets = [
    ...SHORT[preset],
    `out=${join(folder, 'run')}`,
    `ci-report=junit=${junit}`,
    ...settings,
    ...more,
  ];
  const result = await runReprise([
    ...[
      'run',
      '--preset',
      preset,
      captureOf(requestsOf(preset === 'dependency-outage' ? 1_100 : 300, 10_000)),
      '--target',
      target,
      '--json',
    ],
    ...sets.flatMap((each) => ['--set', each]),
  ]);
  expect(result.stdout, result.stderr).not.toBe('');
  const document = JSON.parse(result.stdout);
  const [, tests, failures, skipped] =
    /tests="(\d+)" failures="(\d+)" errors="0" skipped="(\d+)"/.exec(readFileSync(junit, 'utf8')) ?? [];
  const cases = { tests: Number(tests), failures: Number(failures), skipped: Number(skipped) };
  return { ...result, document, cases, sent: server.requests.length };
}

describe('each preset', () => {
  test.each(Object.keys(SCENARIO_PRESETS) as PresetName[])(
    '%s plays to its end, and fails no fast target',
    async (preset) => {
      const { document, status, cases, sent, stderr } = await play(
        preset,
        5,
        [],
        preset === 'dependency-outage' ? relayed : direct,
      );
      expect(sent, stderr).toBeGreaterThan(100);
      expect(cases.tests).toBeGreaterThan(0);
      expect(cases.failures).toBe(0);
      if (preset === 'capacity') {
        expect(document).toMatchObject({
          kind: 'capacity',
          objectives: expect.arrayContaining(['errors: rate<0.01']),
        });
        expect(status).toBe(document.breakingPoint.interval === null ? 4 : 0);
        return;
      }
      expect(status).toBe(STATUS[document.verdict]);
      if (preset === 'dependency-outage')
        expect(JSON.stringify(document.slo)).toContain('errors{fault=slow}: rate<0.5');
      // All that speaks against it on a busy machine is our own lateness.
      const decisive =
        document.reasons ?? document.limits.filter((each: { decides: boolean }) => each.decides);
      const codes = decisive.map(({ code }: { code: string }) => code);
      expect(OUR_LATENESS).toEqual(expect.arrayContaining(codes));
      // Of a statement, runs have cases too.
      if (preset === 'statement') return;
      expect(cases.skipped).toBe(codes.length);
    },
  );
});

test('a release gate with objectives of its own fails a build that answers something else', async () => {
  const { document, status, cases } = await play(
    'release-gate',
    5,
    ['slo=latency: p(50)<60s'],
    direct,
    '{"error":"no model"}',
  );
  expect({ verdict: document.verdict, status }).toEqual({ verdict: 'FAIL', status: 3 });
  expect(document.reasons).toMatchObject([
    { code: 'slo_violated', text: expect.stringContaining('mismatch') },
  ]);
  expect(cases.failures).toBe(1);
});

describe('each verdict', () => {
  test.each([
    ['FAIL', 'latency: p(50)<20', { failures: 1 }],
    ['INCONCLUSIVE', 'latency: p(99.9)<60s', { failures: 0 }],
  ] as const)('%s reaches the exit status and JUnit', async (verdict, slo, expected) => {
    const { document, status, cases } = await play('sustained', 100, [`slo=${slo}`]);
    expect({ verdict: document.verdict, status }).toEqual({ verdict, status: STATUS[verdict] });
    expect(cases).toMatchObject(expected);
    if (verdict === 'INCONCLUSIVE') expect(cases.skipped).toBeGreaterThan(0);
  });
});
