import { expect, test } from 'vitest';
import { runDoubts } from '../../../src/analysis/compare/judge.ts';
import { summaryOf } from '../../support/reported-runs.ts';
import { good } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';

const MS = 1e6;

test('a run is compared whose objective could not be proven broken: no cause of ours speaks against its figures', () => {
  // One of 2,000 left 240 ms late, and was answered as quickly as the others.
  const lateNs = 7 * 100 * MS + 240 * MS;
  const sends = good(2_000).map((each, at) => (at === 7 ? send({ index: 7, actualOffsetNs: lateNs }) : each));
  const document = summaryOf(sends, { multiplier: 1, slo: ['latency: max<200'] });
  expect(document.reasons.map(({ code }) => code)).toEqual(['lag_over_bound']);
  expect(runDoubts('A', document)).toEqual([]);
});

test('a run is not compared whose arrivals were not as planned', () => {
  const sends = good(500).map(({ index }) =>
    send({ index, actualOffsetNs: Math.floor(index / 10) * 1_000 * MS + 1_000 * MS }),
  );
  expect(runDoubts('B', summaryOf(sends, { multiplier: 1 })).map(({ code }) => code)).toEqual([
    'run_b_arrivals_off_plan',
  ]);
});
