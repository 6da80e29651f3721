import { expect, test } from 'vitest';
import { MergedStatistics } from '../../src/analysis/merged-statistics.ts';
import { RunStatistics } from '../../src/analysis/run-statistics.ts';
import type { WholePlan } from '../../src/analysis/shard-document.ts';
import { parseSlo } from '../../src/analysis/slo.ts';
import { evaluateSlo } from '../../src/analysis/slo-evaluation.ts';
import { send } from '../support/sends.ts';

const MS = 1e6;
const NOTHING = new RunStatistics().fidelity();
const WHOLE: WholePlan = {
  recorded: NOTHING.recorded,
  planned: NOTHING.planned,
  recordedToPlanned: NOTHING.recordedToPlanned,
  duplicates: NOTHING.duplicates,
};

test('shards that stood still at once held one load back once, and not each its own', () => {
  const stalls = [{ fromOffsetNs: 0, toOffsetNs: 300 * MS }];
  const shard = {
    stalls,
    recordedStatuses: {},
    recordedFailures: { unanswered: 0, broken: 0 },
    interrupted: false,
  };
  const merged = new MergedStatistics({ whole: WHOLE, unfiltered: null, shards: [shard, shard, shard] });
  for (let index = 0; index < 300; index++) {
    const atNs = (1_000 + index * 100) * MS;
    const answered = { intendedOffsetNs: atNs, actualOffsetNs: atNs, lastByteOffsetNs: atNs + 550 * MS };
    merged.addSend(index % 3, send({ index, ...answered }));
  }
  const figures = merged.figures(300, { recorded: 0, planned: 0, toTheEnd: true });
  expect(figures.latency.stalledNs).toBe(300 * MS);
  const [first, second] = evaluateSlo(parseSlo(['service: p(50)<200', 'service: p(90)<260']), figures, false);
  expect([first?.brokenWithoutUs, second?.brokenWithoutUs]).toEqual([true, false]);
});
