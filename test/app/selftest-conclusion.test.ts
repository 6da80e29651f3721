import { expect, test } from 'vitest';
import { conclusionLines } from '../../src/app/selftest.ts';

test.each([
  [250, 300, 'budget', '250 requests/s (300 was missed; no time was left for rates between: --budget)'],
  [500, null, 'budget', '500 requests/s (no time was left for higher ones: --budget)'],
  [null, null, 'budget', 'none (no time was left to try again: --budget)'],
  [250, 300, 'found', '250 requests/s'],
  [null, 125, 'found', 'none'],
  [128_000, null, 'highest_tried', '128000 requests/s (the highest that is tried)'],
  [125, null, 'interrupted', '125 requests/s (interrupted)'],
] as const)('a selftest that kept %s, missed %s and ended by %s', (highest, lowest, endedBy, text) => {
  const tested = { steps: [], highestHonestRate: highest, lowestMissedRate: lowest, endedBy };
  expect(conclusionLines(tested)[0]).toBe(`Highest honest rate: ${text}`);
});
