import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SCENARIO_PRESETS } from '../../../src/app/gate/scenario-presets.ts';
import { capacityCommand } from '../../../src/cli/commands/capacity.ts';
import { replayCommand } from '../../../src/cli/commands/replay.ts';
import { statementCommand } from '../../../src/cli/commands/statement.ts';
import { resolveScenario, shellLine } from '../../../src/cli/config/scenario.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

function resolved(text: string, sets: readonly string[] = []) {
  const file = join(temporaryDirectory(), 'scenario.yaml');
  writeFileSync(file, text);
  return resolveScenario({ file, stated: {}, sets }, [
    replayCommand(),
    capacityCommand(),
    statementCommand(),
  ]);
}

test('a scenario is one command line, its settings over those of its preset, and --set over both', () => {
  const { args, settings } = resolved(
    'preset: sustained\ncapture: captures/a b\nwindow: 2026-11-20\nslo:\ncheck: true\nseed: null\n',
    ['duration=1m', 'slo=realtime', 'slo=errors: rate<0.1', 'check=false'],
  );
  expect(Object.fromEntries(settings)).toEqual({
    duration: '1m',
    warmup: '1m',
    window: '2026-11-20',
    slo: ['realtime', 'errors: rate<0.1'],
    check: false,
  });
  expect(args).toEqual([
    ...['replay', 'captures/a b', '--warmup=1m', '--slo=realtime', '--slo=errors: rate<0.1'],
    ...['--window=2026-11-20', '--duration=1m'],
  ]);
  expect(shellLine(args)).toMatch(/^replay 'captures\/a b' --warmup=1m .*'--slo=errors: rate<0.1'/);
});

test.each(Object.keys(SCENARIO_PRESETS))('the settings of preset %s are options of its command', (preset) => {
  const needed = preset === 'dependency-outage' ? 'faults: plan.yaml\n' : '';
  expect(() => resolved(`preset: ${preset}\ncapture: c\n${needed}`)).not.toThrow();
});

test('a release gate judges the answers that it compares, whatever objectives a scenario has of its own', () => {
  const sloOf = (more: string, sets: readonly string[] = []) =>
    Object.fromEntries(resolved(`preset: release-gate\ncapture: c\n${more}`, sets).settings)['slo'];
  const bound = 'mismatch: rate<0.01';
  expect(sloOf('')).toEqual(['errors: rate<0.01', bound]);
  expect(sloOf('slo: realtime\n')).toEqual(['realtime', bound]);
  expect(sloOf("slo: ['latency: p(99)<1', 'gpu: max<1']\n")).toEqual([
    ...['latency: p(99)<1', 'gpu: max<1'],
    bound,
  ]);
  expect(sloOf('slo: []\n')).toEqual([bound]);
  expect(sloOf('', ['slo=chat'])).toEqual(['chat', bound]);
  expect(sloOf("slo: 'latency: p(99)<1; mismatch: count<3'\n")).toBe('latency: p(99)<1; mismatch: count<3');
  const file = join(temporaryDirectory(), 'slo.yaml');
  writeFileSync(
    file,
    `apiVersion: openslo/v1
kind: SLO
metadata: {name: same, annotations: {reprise/metric: mismatch}}
spec: {indicator: {spec: {ratioMetric: {}}}, objectives: [{target: 0.95}]}
`,
  );
  expect(sloOf(`slo: ${file}\n`)).toBe(file);
});

test.each([
  ['preset: sustained\nwindow: peak=1h\n', undefined],
  ['preset: release-gate\nwindow: 2026-11-20T08:00:00Z..\n', undefined],
  ['preset: sustained\nstages: 20m@1x,30m@2x\n', '50m'],
  ['preset: spike\nstages: 10m@1x,90s@6x\n', '690s'],
  ['preset: spike\nstages: 10m@1x,90s@6x\nduration: 5m\n', '5m'],
  // The length of these is theirs: shorter windows are played again.
  ['preset: spike\nwindow: peak=5m\n', '11m'],
  ['preset: soak\nwindow: 2026-11-20\n', '8h'],
])('no preset cuts the window or the stages of a scenario: %j', (text, duration) => {
  expect(Object.fromEntries(resolved(`capture: c\n${text}`).settings)['duration']).toBe(duration);
});

test('what a scenario says no to is no whatever variables and files say', () => {
  const { args, variables } = resolved('capture: c\ncompare-at-1x: false\ncheck: true\n', ['check=false']);
  expect(args).toEqual(['replay', 'c']);
  expect(variables).toEqual({ REPRISE_COMPARE_AT_1X: 'false', REPRISE_CHECK: 'false' });
});

test.each([
  ['capture: c\nmultiplyer: 2\n', /line 2, column 1: multiplyer is not a setting; did you mean multiplier\?/],
  [
    'capture: c\nscaling: faster\nmultiplier: fast\n',
    /line 2, column 1: scaling: "faster" is not one of.*\n.*line 3, column 1: multiplier/,
  ],
  ['target: http://s\n', /capture: /],
  ['capture: c\njson: true\n', /line 2, column 1: json is not a setting/],
  [
    'capture: c\npreset: dependency-outage\n',
    /line 2, column 1: preset dependency-outage: faults is missing/,
  ],
  ['capture: c\npreset: spik\n', /line 2, column 1: preset: /],
  ['capture: c\ncommand: record\n', /line 2, column 1: command: "record" is none of/],
  ['capture: c\ncapture: d\n', /line 2, column 1: .*unique/],
  ['- c\n', /it holds no keys/],
  ['', /it is empty/],
])('what a scenario cannot mean is named with its place: %#', (text, problem) => {
  expect(() => resolved(text)).toThrow(problem);
});

test.each([['multiplyer=2'], ['slo'], ['=3'], ['json=true']])('--set %s is refused', (set) => {
  expect(() => resolved('capture: c\n', [set])).toThrow(`--set ${set}: `);
});
