import { describe, expect, test } from 'vitest';
import { errorMeaning, skippedMeaning } from '../../../src/analysis/report/requests.ts';
import { SEND_ERRORS } from '../../../src/core/run.ts';
import { SKIP_REASONS } from '../../../src/replay/window/capture.ts';

describe('meanings', () => {
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
