import { describe, expect, test } from 'vitest';
import { REASON_CODES } from '../../../src/analysis/findings.ts';
import { ADVICE, advised } from '../../../src/analysis/report/advice.ts';
import { errorMeaning, skippedMeaning } from '../../../src/analysis/report/meanings.ts';
import { SEND_ERRORS } from '../../../src/core/run.ts';
import { SKIP_REASONS } from '../../../src/replay/skip.ts';

describe('advice', () => {
  test.each([...REASON_CODES])('says of %s what it means and what to do next', (code) => {
    const { title, means, next } = ADVICE[code];
    expect(title).toMatch(/^[A-Z].{8,}[^.]$/);
    expect(means).toMatch(/^[A-Z].{20,}\.$/);
    expect(next).toMatch(/^[A-Z].{20,}\.$/);
  });

  test('is different for every reason', () => {
    const all = Object.values(ADVICE);
    for (const part of ['title', 'means', 'next'] as const) {
      expect(new Set(all.map((each) => each[part])).size).toBe(all.length);
    }
  });

  test.each(['of_a_later_version', 'constructor', '__proto__'])(
    'leaves a reason it does not know as it was given: %s',
    (code) => {
      expect(advised({ code, text: 'what was found', advice: 'Do it.' })).toEqual({
        code,
        text: 'what was found',
        advice: 'Do it.',
        title: code,
        means: '',
        next: '',
      });
    },
  );

  test('has words for every reason of skipping and every kind of error', () => {
    const unknown = skippedMeaning('constructor');
    for (const reason of [...SKIP_REASONS, 'filtered', 'unreplayable']) {
      expect(skippedMeaning(reason)).not.toBe(unknown);
    }
    const meanings = SEND_ERRORS.map(errorMeaning);
    expect(new Set(meanings).size).toBe(SEND_ERRORS.length);
    expect(errorMeaning('toString')).toBe(errorMeaning('other'));
    expect(errorMeaning('status_503')).toContain('the target answered');
  });
});
