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
    ['p50:3', { p50Factor: 3, statusShare: 0.02, sizeShare: 0.2 }],
    ['p50:1.5, status:5%, size:50%', { p50Factor: 1.5, statusShare: 0.05, sizeShare: 0.5 }],
    ['size:2,status:0', { p50Factor: 2, statusShare: 0, sizeShare: 2 }],
  ])('--compare-at-1x-bounds %s', (calibrateBounds, bounds) => {
    expect(resolved({ compareAt1x: true, compareAt1xBounds: calibrateBounds }).calibrationBounds).toEqual(
      bounds,
    );
  });

  it.each(['p50:0.5', 'p99:2', 'status:2', 'size', '', 'p50:2;size:1'])(
    '--compare-at-1x-bounds %s is refused, with what it takes',
    (calibrateBounds) => {
      expect(problemsOf({ compareAt1x: true, compareAt1xBounds: calibrateBounds })).toContain(
        '--compare-at-1x-bounds: ',
      );
    },
  );

  it('--compare-at-1x-bounds is refused where nothing calibrates, unless it says what holds anyway', () => {
    const said = 'no effect without --compare-at-1x';
    expect(problemsOf({ compareAt1xBounds: 'p50:9' })).toContain(said);
    expect(problemsOf({ compareAt1xBounds: 'p50:9', compareAt1x: 'off' })).toContain(said);
    // What a command line has that leaves the flag out.
    expect(resolved({ compareAt1xBounds: 'p50:2,status:0.02,size:0.2' }).calibrateMs).toBeNull();
    // As a file has it for the runs that calibrate.
    const elsewhere = { ...COMMAND_LINE_ALONE, originOf: () => null };
    const ofAFile = { target: 'http://staging:8000', compareAt1xBounds: 'p50:9' };
    expect(resolveReplayOptions(ofAFile, elsewhere).calibrateMs).toBeNull();
  });

  it.each<RawReplayOptions>([{}, { peak: '15m' }, { from: '2026-11-20T10:00+01:00' }])(
    '--tz is refused where no day is asked for: %j',
    (raw) => {
      const said = '--tz has no effect without --day';
      expect(problemsOf({ ...raw, tz: 'Europe/Berlin' })).toContain(said);
      expect(resolved({ ...raw, tz: 'UTC' }).window.ranges).toHaveLength(1);
      expect(resolved({ tz: 'Europe/Berlin', day: ['2026-11-20'] }).window.ranges).toHaveLength(1);
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
