import { expect, test } from 'vitest';
import { countsTable } from '../../../src/analysis/report/requests.ts';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { summariseReplay } from '../../../src/analysis/verdict/summary.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { NO_CAPS } from '../../../src/documents/parts.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { run, send } from '../../support/sends.ts';

/** Stopped when ten requests had been read, all of which were sent; of a partly open run, eight of them. */
function stopped(partlyOpen = false, expectedRequests?: number) {
  const statistics = new RunStatistics(0, partlyOpen ? 'sessions' : null);
  const sent = partlyOpen ? 8 : 10;
  const sends = Array.from({ length: 10 }, (_, index) =>
    send({ index, ...(index < sent ? {} : { actualOffsetNs: null, lastByteOffsetNs: null }) }),
  );
  for (const { intendedOffsetNs } of sends) {
    statistics.addRecorded(exchangeRow({ arrivalUs: intendedOffsetNs / 1e3 }));
    statistics.addPlanned(exchangeRow(), intendedOffsetNs);
  }
  statistics.addSends(sends);
  return summariseReplay({
    run: run(),
    figures: statistics.figures(false),
    objectives: parseObjectives(['achieved: rate>0.6', 'achieved: count>=10']),
    multiplier: 1,
    scaling: 'compress',
    skipped: {},
    unreplayable: 0,
    coverage: { share: 1, unexplained: 0 },
    health: {
      busyShare: 0.1,
      throttled: false,
      stalls: 0,
      stalledMs: 0,
      longestStallMs: 0,
      starved: 0,
      refusedForBytes: 0,
      caps: NO_CAPS,
    },
    interrupted: 'SIGINT',
    expectedRequests,
  });
}

test('where the plan of a stopped run is too long to be counted nobody knows what was achieved of it', () => {
  const document = stopped();
  expect(document).toMatchObject({ planned: 10, planCounted: false, verdict: 'INCONCLUSIVE' });
  expect(document.slo.slice(0, 2)).toMatchObject([
    { observed: null, ok: null },
    { observed: 10, ok: true },
  ]);
  expect(document.reasons.map(({ code }) => code)).not.toContain('too_few_samples');
  const [, planned] =
    countsTable({ counts: document, summary: document }).rows.find(([name]) => name === 'planned') ?? [];
  expect(planned).toMatch(/^at least/);
});

test('what a stopped run had not read does not pass for sessions that the target slowed down', () => {
  const document = stopped(true);
  // Of what was read the last two had not come due.
  expect(document).toMatchObject({ planned: 10, effectiveMultiplier: 0.8 });
  expect(document.reasons.map(({ code }) => code)).not.toContain('multiplier_not_reached');
});

test('a stopped run was told to be of as many requests as its forecast said, and asked what had ended it', () => {
  const { reasons } = stopped(true, 1_151);
  const found = (code: string) => reasons.find((each) => each.code === code);
  expect(found('interrupted')?.text).toContain('8 of about 1151 planned requests');
  expect(found('achieved_below')?.text).toContain('8 of about 1151 planned requests');
  expect(found('achieved_below')?.advice).toContain('SIGINT');
});
