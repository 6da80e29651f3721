import { describe, expect, it } from 'vitest';
import type { AppError } from '../../../src/core/errors.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { COMMAND_LINE_ALONE } from '../../support/option-sources.ts';

const resolved = (raw: RawReplayOptions) =>
  resolveReplayOptions({ target: 'http://staging:8000', ...raw }, COMMAND_LINE_ALONE);

function problemsOf(raw: RawReplayOptions): string {
  try {
    resolved(raw);
  } catch (thrown) {
    return (thrown as AppError).message;
  }
  throw new Error('nothing was wrong');
}

describe('the options of trust', () => {
  it.each([
    [true, 120_000],
    ['true', 120_000],
    ['30s', 30_000],
    [false, null],
    ['off', null],
    [undefined, null],
  ] as const)('--compare-at-1x %s calibrates for %s ms', (calibrate, ms) => {
    expect(resolved({ compareAt1x: calibrate }).calibrateMs).toBe(ms);
  });

  it.each([
    ['p50=3', { p50Factor: 3, statusShare: 0.02, sizeShare: 0.2 }],
    ['p50=1.5, status=5%, size=50%', { p50Factor: 1.5, statusShare: 0.05, sizeShare: 0.5 }],
    ['size=2,status=0', { p50Factor: 2, statusShare: 0, sizeShare: 2 }],
  ])('--compare-at-1x %s has these bounds, and the default time', (compareAt1x, bounds) => {
    expect(resolved({ compareAt1x })).toMatchObject({ calibrationBounds: bounds, calibrateMs: 120_000 });
    expect(resolved({ compareAt1x: `30s,${compareAt1x}` })).toMatchObject({
      calibrationBounds: bounds,
      calibrateMs: 30_000,
    });
  });

  it.each(['p50=0.5', 'p99=2', 'status=2', 'size', '', 'p50=2;size=1', 'off,p50=9'])(
    '--compare-at-1x %s is refused, with the part',
    (compareAt1x) => {
      expect(problemsOf({ compareAt1x })).toMatch(/^--compare-at-1x/);
    },
  );

  it.each<RawReplayOptions>([{}, { window: ['peak=15m'] }, { window: ['2026-11-20T10:00+01:00..'] }])(
    '--tz is refused where no day is asked for: %j',
    (raw) => {
      const said = '--tz has no effect without a day';
      expect(problemsOf({ ...raw, tz: 'Europe/Berlin' })).toContain(said);
      expect(resolved({ ...raw, tz: 'UTC' }).window.ranges).toHaveLength(1);
      expect(resolved({ tz: 'Europe/Berlin', window: ['2026-11-20'] }).window.ranges).toHaveLength(1);
      const elsewhere = { ...COMMAND_LINE_ALONE, originOf: () => null };
      const ofTheHost = { target: 'http://staging:8000', ...raw, tz: 'Europe/Berlin' };
      expect(resolveReplayOptions(ofTheHost, elsewhere).window.ranges).toHaveLength(1);
    },
  );

  it.each([
    ['5ms', { lagMs: 5, share: null }],
    ['10%', { lagMs: null, share: 0.1 }],
    ['1ms, 2.5%', { lagMs: 1, share: 0.025 }],
  ])('--lag-bound %s', (lagBound, bound) => {
    expect(resolved({ lagBound }).lagBound).toEqual(bound);
  });

  it.each([
    ['99%', 0.99],
    ['0.9', 0.9],
    ['point', null],
  ])('--confidence %s', (confidence, share) => {
    expect(resolved({ confidence }).confidence).toBe(share);
    for (const nonsense of ['50%', '100%', 'k6']) {
      expect(problemsOf({ confidence: nonsense })).toContain('--confidence');
    }
  });

  it.each([
    ['20', { kind: 'count', runs: 20 }],
    ['30d', { kind: 'age', ms: 30 * 86_400_000 }],
  ])('--retain-runs %s', (retainRuns, kept) => {
    expect(resolved({ retainRuns }).retainRuns).toEqual(kept);
  });

  it('lists everything that is wrong at once', () => {
    const message = problemsOf({
      warmup: '5',
      compareAt1x: '0s',
      lagBound: '5',
      retainRuns: '0',
      json: true,
      ndjson: true,
    });
    for (const flag of ['--warmup', '--compare-at-1x', '--lag-bound', '--retain-runs', '--ndjson']) {
      expect(message).toContain(flag);
    }
    expect(problemsOf({ dryRun: true, ndjson: true })).toContain('a dry run has no events');
  });
});
