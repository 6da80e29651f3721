import { expect, test } from 'vitest';
import { atOnce } from '../../src/cli/replay-calibration.ts';
import { resolveReplayOptions } from '../../src/replay/options.ts';

test('a start that was set is the start of the run, and not of its calibration', () => {
  const raw = { target: 'http://staging', startAt: '2026-11-24T22:00:00Z', calibrate: '2m' };
  const options = resolveReplayOptions(raw, {
    environment: () => undefined,
    readFile: () => '',
    checkSlo: () => undefined,
    nowUs: () => Date.parse('2026-11-24T21:00:00Z') * 1e3,
  });
  expect(options.startAtUs).not.toBeNull();
  expect(atOnce(options).startAtUs).toBeNull();
});
