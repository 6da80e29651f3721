import { expect, test } from 'vitest';
import { assertRequestsLeft, atOnce } from '../../../src/app/replay/plan.ts';
import { resolveReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { COMMAND_LINE_ALONE } from '../../support/option-sources.ts';

test('a start that was set is the start of the run, and not of its calibration', () => {
  const raw = { target: 'http://staging', shard: 'start=2026-11-24T22:00:00Z', compareAt1x: '2m' };
  const options = resolveReplayOptions(raw, {
    ...COMMAND_LINE_ALONE,
    nowUs: () => Date.parse('2026-11-24T21:00:00Z') * 1e3,
  });
  expect(options.startAtUs).not.toBeNull();
  expect(atOnce(options).startAtUs).toBeNull();
});

test.each([
  [null, 1_000, 1_000, true],
  [100, 0, 0, true],
  [100, 60, 39, true],
  [100, 60, 40, false],
  [100, 200, 0, false],
])('--max-requests %s with %i to calibrate and %i to warm up: something is left to judge: %s', (...facts) => {
  const [maxRequests, calibration, warmup, isLeft] = facts;
  const check = () => assertRequestsLeft(maxRequests, calibration + warmup);
  if (isLeft) expect(check).not.toThrow();
  else expect(check).toThrow('leaves nothing to judge');
});
