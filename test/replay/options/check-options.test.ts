import { describe, expect, test } from 'vitest';
import { CHECK_TOLERANCE } from '../../../src/replay/options/parsers.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { COMMAND_LINE_ALONE } from '../../support/option-sources.ts';

function resolved(raw: RawReplayOptions) {
  return resolveReplayOptions({ dryRun: true, ...raw }, COMMAND_LINE_ALONE).check;
}

describe('what was asked for about comparing answers', () => {
  test.each([
    [undefined, null],
    [false, null],
    ['no', null],
    [true, 'values'],
    ['yes', 'values'],
    ['shape', 'shape'],
    ['status', 'status'],
  ])('--check %j compares by %j', (check, level) => {
    expect(resolved({ check })?.level ?? null).toBe(level);
  });

  test('has a tolerance of which each part may be set', () => {
    const toleranceOf = (text: string) => resolved({ check: text })?.tolerance;
    expect(resolved({ check: true })?.tolerance).toEqual(CHECK_TOLERANCE);
    expect(toleranceOf('rel=1e-3')).toEqual({ ...CHECK_TOLERANCE, relative: 1e-3 });
    expect(toleranceOf('rel=2%, abs=0.5,length=10%')).toEqual({
      relative: 0.02,
      absolute: 0.5,
      lengthShare: 0.1,
    });
  });

  test.each([
    [{ check: 'bytes' }, 'is not one of'],
    [{ check: 'rel=2' }, '--check rel: "2" is no share'],
    [{ check: 'rel=' }, '--check rel'],
    [{ check: 'relative=1e-3' }, 'there is no part relative'],
    [{ check: 'status,status' }, 'is not one of'],
    [{ check: 'ignore=a.b' }, 'does not begin with /'],
    [{ check: 'ignore=' }, 'the whole response'],
    [{ check: Array(65).fill('ignore=/a').join() }, 'more than 64'],
    [{ check: '1e-3' }, 'is not one of'],
  ])('refuses %j', (raw, problem) => {
    expect(() => resolved(raw)).toThrow(problem);
  });
});
