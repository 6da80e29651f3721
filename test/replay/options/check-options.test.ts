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
    const toleranceOf = (text: string) => resolved({ check: true, checkTolerance: text })?.tolerance;
    expect(resolved({ check: true })?.tolerance).toEqual(CHECK_TOLERANCE);
    expect(toleranceOf('1e-3')).toEqual({ ...CHECK_TOLERANCE, relative: 1e-3 });
    expect(toleranceOf('rel:2%, abs:0.5,length:10%')).toEqual({
      relative: 0.02,
      absolute: 0.5,
      lengthShare: 0.1,
    });
  });

  test.each([
    [{ check: 'bytes' }, 'is not one of'],
    [{ check: true, checkTolerance: 'rel:2' }, 'is not a tolerance'],
    [{ check: true, checkTolerance: 'abs:1%' }, 'is not a tolerance'],
    [{ check: true, checkTolerance: '' }, 'is not a tolerance'],
    [{ check: true, checkIgnore: ['a.b'] }, 'does not begin with /'],
    [{ check: true, checkIgnore: [''] }, 'the whole response'],
    [{ check: true, checkIgnore: Array(65).fill('/a') }, 'more than 64'],
    [{ checkTolerance: '1e-3' }, 'without --check'],
    [{ checkIgnore: ['/a'] }, 'without --check'],
  ])('refuses %j', (raw, problem) => {
    expect(() => resolved(raw)).toThrow(problem);
  });
});
