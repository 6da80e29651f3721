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
  ])('--compare-responses %j compares by %j', (check, level) => {
    expect(resolved({ compareResponses: check })?.level ?? null).toBe(level);
  });

  test('has a tolerance of which each part may be set', () => {
    const toleranceOf = (text: string) =>
      resolved({ compareResponses: true, responseTolerance: text })?.tolerance;
    expect(resolved({ compareResponses: true })?.tolerance).toEqual(CHECK_TOLERANCE);
    expect(toleranceOf('1e-3')).toEqual({ ...CHECK_TOLERANCE, relative: 1e-3 });
    expect(toleranceOf('rel:2%, abs:0.5,length:10%')).toEqual({
      relative: 0.02,
      absolute: 0.5,
      lengthShare: 0.1,
    });
  });

  test.each([
    [{ compareResponses: 'bytes' }, 'is not one of'],
    [{ compareResponses: true, responseTolerance: 'rel:2' }, 'is not a tolerance'],
    [{ compareResponses: true, responseTolerance: 'abs:1%' }, 'is not a tolerance'],
    [{ compareResponses: true, responseTolerance: '' }, 'is not a tolerance'],
    [{ compareResponses: true, responseIgnore: ['a.b'] }, 'does not begin with /'],
    [{ compareResponses: true, responseIgnore: [''] }, 'the whole response'],
    [{ compareResponses: true, responseIgnore: Array(65).fill('/a') }, 'more than 64'],
    [{ responseTolerance: '1e-3' }, 'without --compare-responses'],
    [{ responseIgnore: ['/a'] }, 'without --compare-responses'],
  ])('refuses %j', (raw, problem) => {
    expect(() => resolved(raw)).toThrow(problem);
  });
});
