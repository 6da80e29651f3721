import { expect, test } from 'vitest';
import type { StepPlayed } from '../../../src/app/capacity/step.ts';
import { stepOf } from '../../../src/app/capacity/step-document.ts';
import { playedAt } from '../../support/searched.ts';

const RESOURCE = 'gpu_utilization: max<0.95';

/** A step whose windows are good, with what its run says of a monitored resource, and of repeated requests. */
function stepWith(resource: boolean | null, repeatsAreFaster = false) {
  const line = { expression: RESOURCE, observed: 0.97, ok: resource };
  const played = {
    windows: playedAt(2).windows,
    ratePerSecond: 40,
    isHopeless: false,
    monitored: [RESOURCE],
    littlesLaw: null,
    document: {
      slo: [line],
      sent: 400,
      refused: 0,
      repeats: { faster: repeatsAreFaster },
      latencyMs: { scheduled: { p50: 1, p95: 2, p99: 3, max: 4 } },
    },
  } as unknown as StepPlayed;
  const facts = { purpose: 'narrow', position: 0, run: 'steps/01', settledS: 0, spentS: 10 } as const;
  return stepOf(played, { ...facts, multiplier: 2, endedEarly: null, windowS: 5 });
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
