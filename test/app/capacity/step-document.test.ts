import { expect, test } from 'vitest';
import { playedSteps } from '../../../src/analysis/capacity/build-document.ts';
import type { StepPlayed } from '../../../src/app/capacity/step.ts';
import { stepOf } from '../../../src/app/capacity/step-document.ts';
import { playedAt } from '../../support/searched.ts';

const RESOURCE = 'gpu_utilization: max<0.95';

const SERIES = {
  ...{
    name: 'gpu_utilization',
    metric: 'gpu',
    source: 'target',
    labels: { gpu: '0' },
    kind: 'gauge',
    unit: 'share',
  },
  ...{
    samples: 9,
    missing: 0,
    min: 0,
    mean: 0.5,
    p50: 0.5,
    p95: 0.9,
    max: 0.97,
    change: null,
    resets: 0,
    recorded: null,
  },
};

/** A step whose windows are good, with what its run says of a monitored resource, and of repeated requests. */
function stepWith(
  resource: boolean | null,
  repeatsAreFaster = false,
  parts: { readonly load?: number; readonly littlesLaw?: number; readonly health?: object } = {},
) {
  const line = { expression: RESOURCE, observed: 0.97, ok: resource };
  const played = {
    windows: playedAt(parts.load ?? 2).windows,
    ratePerSecond: 40,
    answeredPerS: 40,
    monitored: [RESOURCE],
    littlesLaw: parts.littlesLaw ?? null,
    document: {
      health: { busyShare: 0.1, throttled: false, starved: 0, ...parts.health },
      slo: [line],
      sent: 400,
      refused: 0,
      repeats: { faster: repeatsAreFaster },
      monitors: { series: [SERIES] },
      latencyMs: { scheduled: { p50: 1, p95: 2, p99: 3, max: 4 } },
    },
  } as unknown as StepPlayed;
  const facts = { purpose: 'narrow', position: 0, run: 'steps/01', settledS: 0, spentS: 10 } as const;
  return stepOf(played, { ...facts, multiplier: 2, endedEarly: null });
}

test('a resource over its limit breaks every window of its step', () => {
  const step = stepWith(false);
  expect(step.verdict).toBe('FAIL');
  expect(
    step.windows.map(({ result, goals, observed }) => [result, goals[RESOURCE], observed[RESOURCE]]),
  ).toEqual([
    ['bad', false, 0.97],
    ['bad', false, 0.97],
  ]);
  expect(step.reasons).toContainEqual({
    code: 'slo_violated',
    text: `${RESOURCE} broke in 2 of 2 windows`,
    about: [RESOURCE],
    figures: { windows: 2, of: 2 },
  });
});

test('a resource that was not seen leaves no window good', () => {
  const step = stepWith(null);
  expect(step.verdict).toBe('INCONCLUSIVE');
  expect(step.windows.map(({ result, doubts }) => [result, doubts])).toEqual([
    ['void', ['not_monitored']],
    ['void', ['not_monitored']],
  ]);
});

test('a resource within its limit changes nothing', () => {
  expect(stepWith(true)).toMatchObject({
    verdict: 'PASS',
    windows: [{ result: 'good' }, { result: 'good' }],
  });
});

test('windows whose repeated requests a cache answers count for nothing', () => {
  const step = stepWith(true, true);
  expect(step.verdict).toBe('INCONCLUSIVE');
  expect(
    step.windows.every(({ result, doubts }) => result === 'void' && doubts.includes('repeats_cached')),
  ).toBe(true);
});

test('windows of a step whose backlog grew are not good', () => {
  const results = (littlesLaw: number) =>
    stepWith(true, false, { littlesLaw }).windows.map(({ result, doubts }) => [result, doubts]);
  expect(results(0.2)).toEqual([
    ['good', []],
    ['good', []],
  ]);
  expect(results(0.3)).toEqual([
    ['void', ['backlog_grew']],
    ['void', ['backlog_grew']],
  ]);
});

test('an objective that another one seems to break first is not kept where the backlog grew', () => {
  const { windows } = stepWith(true, false, { load: 6, littlesLaw: 0.3 });
  expect(windows.map(({ result, goals }) => [result, goals['errors: rate<0.01']])).toEqual([
    ['bad', null],
    ['bad', null],
  ]);
});

test('what monitors saw is kept with the step', () => {
  const { monitors } = stepWith(true);
  expect(monitors).toEqual([
    {
      name: 'gpu_utilization',
      source: 'target',
      labels: { gpu: '0' },
      kind: 'gauge',
      unit: 'share',
      p50: 0.5,
      p95: 0.9,
      max: 0.97,
    },
  ]);
});

test.each([
  ['sender_busy', { busyShare: 0.9 }],
  ['cpu_throttled', { throttled: true }],
  ['starved', { starved: 40 }],
])('windows that broke while our side was short of time say nothing (%s)', (code, health) => {
  const step = stepWith(true, false, { load: 6, health });
  expect(step.windows.map(({ result, doubts }) => [result, doubts])).toEqual([
    ['void', [code]],
    ['void', [code]],
  ]);
  expect(Object.values(step.windows[0]!.goals)).not.toContain(false);
  expect(playedSteps([step])[0]?.windows.map(({ isVoid }) => isVoid)).toEqual([true, true]);
  // What held even so was held.
  expect(stepWith(true, false, { health }).verdict).toBe('PASS');
});
