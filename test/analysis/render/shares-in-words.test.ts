import { describe, expect, test } from 'vitest';
import { profileText } from '../../../src/analysis/profile/view.ts';
import { shareText, viewText } from '../../../src/analysis/render/table.ts';
import { objectivesTable } from '../../../src/analysis/report/requests.ts';
import { runView } from '../../../src/analysis/report/view.ts';
import { percent as reasonPercent } from '../../../src/core/units.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { profileOf } from '../../support/profiles.ts';
import { summaryOf } from '../../support/reported-runs.ts';
import { refused, send } from '../../support/sends.ts';

describe.each([
  ['a table', shareText],
  ['a reason', reasonPercent],
])('a share in %s', (_, text) => {
  test.each([
    [0.9997, '99.97 %'],
    [0.99986, '99.986 %'],
    [0.999999, '99.9999 %'],
    [0.000012, '0.0012 %'],
  ])('of %d is not rounded to all, or to nothing', (share, words) => {
    expect(text(share)).toBe(words);
  });

  test.each([0, 0.01, 0.123, 0.9, 0.99, 1])('of %d is said in short', (share) => {
    expect(Number.parseFloat(text(share))).toBe(Number((share * 100).toPrecision(3)));
    // What a sum of floating point lacks of a whole is nothing that was counted.
    expect(Number.parseFloat(text(1 - 2 ** -53))).toBe(100);
  });
});

test('an objective that was missed by a hair is not shown as kept to the digit', () => {
  const sends = Array.from({ length: 3_000 }, (_, index) => (index === 7 ? refused(index) : send({ index })));
  const summary = summaryOf(sends, { slo: ['achieved: rate>=0.9999'] });
  const rows = objectivesTable(summary, summary)?.rows;
  expect(rows?.[0]).toEqual(['achieved: rate>=0.9999', 'undecided', '99.967 %', '99.99 %']);
});

test('a profile of few requests in much time has a rate', () => {
  const rows = [0, 1, 2].map((day) => exchangeRow({ arrivalUs: 1.7e15 + day * 86_400e6 }));
  expect(profileText(profileOf(rows)).join('\n')).toMatch(/mean rate +0\.0000174\/s/);
  const busy = [0, 1, 2].map((at) => exchangeRow({ arrivalUs: 1.7e15 + at * 800_000 }));
  expect(profileText(profileOf(busy)).join('\n')).toMatch(/mean rate +1\.88\/s/);
});

test('tokens of whole answers are not said to be those of streams', () => {
  const answer = {
    firstTokenOffsetNs: null,
    lastTokenOffsetNs: null,
    contentEvents: 0,
    gapMaxNs: null,
    gaps: null,
    promptTokens: 5,
    outputTokens: 7,
    finish: 'stop',
  } as const;
  const view = runView(summaryOf([0, 1].map((index) => send({ index, answer }))));
  expect(view.lines).toContain('tokens, as 2 answers counted them: 10 prompt, 14 output; ended for stop 2');
  expect(viewText(view).filter((line) => line.startsWith('Streams'))).toEqual([]);
});
