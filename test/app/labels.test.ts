import { describe, expect, test } from 'vitest';
import { commonLabels, LABEL_OPTIONS, labelsOf } from '../../src/app/labels.ts';
import { byProgram, resolveOptions, type StatedOptions } from '../../src/core/options.ts';

function labels(stated: StatedOptions<typeof LABEL_OPTIONS>, environment: NodeJS.ProcessEnv = {}) {
  return labelsOf(resolveOptions(LABEL_OPTIONS, byProgram(LABEL_OPTIONS, stated)), environment);
}

describe('the labels of a build', () => {
  test('are those that all have, where several served', () => {
    const [v1, v2] = [
      { build: 'v1', model: 'm7' },
      { model: 'm7', build: 'v2' },
    ];
    expect(commonLabels([v1, v1])).toEqual(v1);
    expect(commonLabels([v1, v2])).toEqual({ model: 'm7' });
    expect(commonLabels([v1, undefined])).toEqual({});
    expect([commonLabels([undefined, v1]), commonLabels([])]).toEqual([undefined, undefined]);
  });

  test('are those given, beside those that CI sets', () => {
    const ofCi = { GITHUB_SHA: '0c1f3a', GITHUB_REF_NAME: 'main' };
    expect(labels({ label: ['build=v1.4.2', 'model=v7', 'image=registry/m@sha256:ab=1'] }, ofCi)).toEqual({
      commit: '0c1f3a',
      branch: 'main',
      build: 'v1.4.2',
      model: 'v7',
      image: 'registry/m@sha256:ab=1',
    });
    expect(labels({}, { CI_COMMIT_SHA: 'abc' })).toEqual({ commit: 'abc' });
    expect(labels({}, { GITHUB_SHA: '', CI_COMMIT_SHA: 'a\nb', GIT_COMMIT: 'def' })).toEqual({
      commit: 'def',
    });
    expect(labels({ label: ['commit=mine'] }, ofCi)).toEqual({ commit: 'mine', branch: 'main' });
    expect(labels({})).toEqual({});
  });

  test.each([
    [{ label: ['model'] }],
    [{ label: ['Model=v7'] }],
    [{ label: ['model='] }],
    [{ label: [`model=${'x'.repeat(201)}`] }],
    [{ label: ['a.b=c'] }],
    [{ label: ['instance=other'] }],
    [{ label: ['build=a\nb'] }],
    [{ label: ['build='] }],
    [{ label: ['model=a', 'model=b'] }],
    [{ label: Array.from({ length: 21 }, (_, at) => `l${at}=x`) }],
  ])('refuse %j', (stated) => {
    expect(() => labels(stated)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }));
  });
});
