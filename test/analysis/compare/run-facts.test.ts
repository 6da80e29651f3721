import { expect, test } from 'vitest';
import { runDoubts } from '../../../src/analysis/compare/run-facts.ts';
import { summaryOf } from '../../support/reported-runs.ts';
import { good } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';

const MS = 1e6;

test('a run is compared whose objective could not be proven broken: no cause of ours speaks against its figures', () => {
  // One of 2,000 left 240 ms late, and was answered as quickly as the others.
  const lateNs = 7 * 100 * MS + 240 * MS;
  const sends = good(2_000).map((each, at) => (at === 7 ? send({ index: 7, actualOffsetNs: lateNs }) : each));
  const document = summaryOf(sends, { multiplier: 1, slo: ['latency: max<200'] });
  expect(document.reasons.map(({ code }) => code)).toEqual(['violated_by_our_lag']);
  expect(runDoubts('A', document)).toEqual([]);
});

test('a run is not compared whose generator stood still', () => {
  const stalls = [{ fromOffsetNs: 0, toOffsetNs: 900 * MS }];
  const document = summaryOf(good(200), { health: { busyShare: 0.2, throttled: false, stalls, starved: 0 } });
  expect(runDoubts('B', document).map(({ code }) => code)).toEqual(['run_b_stalled']);
});
