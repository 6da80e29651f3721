import { expect, test } from 'vitest';
import { countsTable } from '../../../src/analysis/report/requests.ts';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { summariseReplay } from '../../../src/analysis/run/summary.ts';
import { parseSlo } from '../../../src/analysis/verdict/slo.ts';
import { NO_CAPS } from '../../../src/documents/caps.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { run, send } from '../../support/sends.ts';

/** Stopped when ten requests had been read, all of which were sent; of a partly open run, eight of them. */
function stopped(unread: { recorded: number; planned: number; toTheEnd: boolean }, partlyOpen = false) {
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
  statistics.addUnread(unread);
  return summariseReplay({
    run: run(),
    figures: statistics.figures(),
    thresholds: parseSlo(['achieved: rate>0.6', 'achieved: count>=10']),
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
  });
}

test('an objective on what was achieved is held against the whole plan of a stopped run', () => {
  const document = stopped({ recorded: 90, planned: 90, toTheEnd: true });
  expect(document).toMatchObject({ recorded: 100, planned: 100, planCounted: true, sent: 10, unreached: 90 });
  expect(document.unread).toEqual({ recorded: 90, planned: 90 });
  expect(document).toMatchObject({ effectiveMultiplier: 1, fidelity: { planned: { count: 10 } } });
  expect(document.slo.slice(0, 2)).toMatchObject([
    { observed: 0.1, ok: false },
    { observed: 10, ok: true },
  ]);
  // Ctrl-C is no failure of the target.
  expect(document.verdict).toBe('INCONCLUSIVE');
  expect(document.reasons.map(({ text }) => text)).toContain(
    '10 of 100 planned requests were sent; only the others violate achieved: rate>0.6',
  );
});

test('where the plan of a stopped run is too long to be counted nobody knows what was achieved of it', () => {
  const document = stopped({ recorded: 2, planned: 2, toTheEnd: false });
  expect(document).toMatchObject({ planned: 12, planCounted: false, verdict: 'INCONCLUSIVE' });
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
  const document = stopped({ recorded: 890, planned: 890, toTheEnd: true }, true);
  // Of what was read the last two had not come due.
  expect(document).toMatchObject({ planned: 900, effectiveMultiplier: 0.8 });
  expect(document.reasons.map(({ code }) => code)).not.toContain('multiplier_not_reached');
});
