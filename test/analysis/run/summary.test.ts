import { describe, expect, test } from 'vitest';
import { viewText } from '../../../src/analysis/render/table.ts';
import { runView } from '../../../src/analysis/report/view.ts';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { type ReplaySummaryInput, summariseReplay } from '../../../src/analysis/verdict/summary.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { NO_CAPS } from '../../../src/documents/parts.ts';
import type { JudgementBounds, ReplayDocument } from '../../../src/documents/replay.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { failed, refused, run, send } from '../../support/sends.ts';

const MS = 1e6;

function inputOf(
  sends: readonly Send[],
  facts: Partial<ReplaySummaryInput> = {},
  statistics = new RunStatistics(),
): ReplaySummaryInput {
  for (const each of sends) {
    const row = exchangeRow({
      arrivalUs: 1_794_000_000_000_000 + (each.intendedOffsetNs / 1_000) * 1.5,
      requestBytes: each.requestBytes,
    });
    statistics.addRecorded(row);
    statistics.addPlanned(row, each.intendedOffsetNs);
  }
  statistics.addSends(sends);
  return {
    run: run(),
    figures: statistics.figures(),
    objectives: parseObjectives(['latency: p(95)<200']),
    multiplier: 1.5,
    scaling: 'compress',
    skipped: { truncated_request: 0 },
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
    interrupted: null,
    ...facts,
  };
}

const good = (count: number) => Array.from({ length: count }, (_, index) => send({ index }));

describe('summariseReplay', () => {
  test('holds every field the command line promises', () => {
    const document = summariseReplay(inputOf(good(200)));
    expect(document).toMatchObject({
      schemaVersion: 1,
      verdict: 'PASS',
      reasons: [],
      planned: 200,
      sent: 200,
      completed: 200,
      failed: 0,
      refused: 0,
      unreplayable: 0,
      skipped: { truncated_request: 0 },
      multiplier: 1.5,
      effectiveMultiplier: 1.5,
      scaling: 'compress',
      durationS: 19.91,
      lagUs: { p50: 0, p90: 0, p99: 0, max: 0 },
      connectMs: { p50: 1, p95: 1, p99: 1, max: 1 },
      latencyMs: {
        scheduled: { p50: 10, p95: 10, p99: 10, max: 10 },
        service: { p50: 10, p95: 10, p99: 10, max: 10 },
      },
      ttftMs: { p50: null, p95: null, p99: null, max: null },
      statuses: { '200': 200 },
      slo: [
        { expression: 'latency: p(95)<200', unit: 'ms', observed: 10, limit: 200, ok: true },
        { expression: 'errors: rate<0.01', unit: 'share', observed: 0, limit: 0.01, ok: true },
        { expression: 'rejected: rate<0.01', unit: 'share', observed: 0, limit: 0.01, ok: true },
      ],
    });
    expect(document.fidelity).toMatchObject({
      ksGaps: 0,
      mixDistance: 0,
      duplicateRatio: null,
      recordedToPlanned: { ksGaps: 0, mixDistance: 0 },
    });
    for (const stream of ['recorded', 'planned', 'sent'] as const) {
      expect(document.fidelity[stream].cv).toBe(0);
      expect(Object.keys(document.fidelity[stream].idc).sort()).toEqual(['0.1', '1', '10', '60', '600']);
    }
    expect(document.fidelity.recorded.ratePerSecond).toBeCloseTo(200 / (19.9 * 1.5), 9);
    expect(document.fidelity.sent.ratePerSecond).toBeCloseTo(200 / 19.9, 9);
  });

  test('survives JSON unchanged, infinite latency written as a word', () => {
    const document = summariseReplay(inputOf([...good(10), failed(10), refused(11)]));
    expect(document.slo[0]).toMatchObject({ observed: 'Infinity', ok: false });
    expect(JSON.parse(JSON.stringify(document))).toEqual(document);
    const empty = summariseReplay(inputOf([]));
    expect(JSON.parse(JSON.stringify(empty))).toEqual(empty);
  });

  test('says null, never 0, of what was not measured', () => {
    const document = summariseReplay(
      inputOf([refused(0)], {
        objectives: [],
        coverage: { share: null, unexplained: null },
        health: {
          busyShare: null,
          throttled: null,
          stalls: 0,
          stalledMs: 0,
          longestStallMs: 0,
          starved: null,
          refusedForBytes: 0,
          caps: NO_CAPS,
        },
      }),
    );
    expect(document).toMatchObject({
      verdict: null,
      valid: false,
      effectiveMultiplier: null,
      coverage: null,
      ttftMs: { p50: null, p95: null, p99: null, max: null },
      lagUs: { p50: null, p90: null, p99: null, max: null },
      connectMs: { p50: null },
      latencyMs: { scheduled: { p99: null }, service: { p99: null } },
    });
    expect(document.fidelity).toMatchObject({ sent: { cv: null }, ksGaps: null, mixDistance: null });
    expect(document.health).toMatchObject({ busyShare: null, throttled: null, starved: null });
  });

  test('the effective multiplier shrinks with what was skipped and with what was never recorded', () => {
    const statistics = new RunStatistics();
    for (let at = 0; at < 10; at++) statistics.addRecorded(exchangeRow({ arrivalUs: at }));
    for (let at = 0; at < 8; at++) statistics.addPlanned(exchangeRow(), at);
    const document = summariseReplay(
      inputOf([], {
        figures: statistics.figures(),
        multiplier: 2,
        coverage: { share: 0.5, unexplained: 0.5 },
      }),
    );
    expect(document.effectiveMultiplier).toBeCloseTo(0.8, 12);
    expect(document.reasons.map(({ code }) => code)).toContain('multiplier_not_reached');
  });

  test('a plan below the multiplier is found where coverage is not known, of what the capture holds', () => {
    const unknown = { coverage: { share: null, unexplained: null } };
    const whole = summariseReplay(inputOf(good(200), unknown));
    expect(whole).toMatchObject({ verdict: 'PASS', effectiveMultiplier: null, reasons: [] });
    const half = summariseReplay(inputOf(good(200), { ...unknown, played: { recorded: 400, planned: 200 } }));
    expect(half).toMatchObject({ verdict: 'INCONCLUSIVE', effectiveMultiplier: null });
    expect(half.reasons).toMatchObject([{ code: 'multiplier_not_reached' }]);
    expect(half.reasons[0]?.text).toBe('the plan is 0.75 times what the capture holds, not 1.5');
  });

  test('tells the mean of stages by the digits that people read', () => {
    const parts = { multiplier: 2.8412159840862885, pace: 2.8412159840862885 };
    const document = summariseReplay(
      inputOf(good(200), { ...parts, played: { recorded: 1_000, planned: 861 } }),
    );
    expect(document.multiplier).toBe(2.8412159840862885);
    expect(document.reasons[0]?.text).toBe('the plan is 2.446 times the traffic that was seen, not 2.841');
  });

  test('counts what was planned and never reached', () => {
    const sends = [
      ...good(5),
      send({ index: 5, actualOffsetNs: null }),
      send({ index: 6, actualOffsetNs: null }),
    ];
    const document = summariseReplay(inputOf(sends, { interrupted: 'SIGINT' }));
    expect(document).toMatchObject({ planned: 7, sent: 5, unreached: 2, interrupted: 'SIGINT' });
  });

  test('bounds given by the user hold beside the usual ones', () => {
    const late = good(200).map(({ index }) => send({ index, actualOffsetNs: index * 100 * MS + 5 * MS }));
    const lagNote = (bounds: Partial<JudgementBounds>) =>
      summariseReplay(inputOf(late, { bounds })).notes.some(({ code }) => code === 'lag_over_bound');
    expect(lagNote({ lagShare: 0.01 })).toBe(true);
    expect(lagNote({ lagShare: 0.01, lagNs: 6 * MS })).toBe(false);
  });
});

const runText = (document: ReplayDocument) => viewText(runView(document), 'brief');

describe('a run in words', () => {
  test('begins with the verdict and its reasons, and shows what they rest on', () => {
    const stalls = { stalls: 1, stalledMs: 300, longestStallMs: 300 };
    const sends = [
      send({ index: 0, intendedOffsetNs: 0, actualOffsetNs: 300 * MS }),
      ...good(200).slice(1),
      failed(200),
      send({ index: 201, status: 404 }),
    ];
    const lines = runText(
      summariseReplay(
        inputOf(sends, {
          skipped: { truncated_request: 3, no_payload: 0 },
          health: {
            busyShare: 0.1,
            throttled: false,
            ...stalls,
            starved: 0,
            refusedForBytes: 0,
            caps: NO_CAPS,
          },
        }),
      ),
    );
    expect(lines[0]).toMatch(/^Verdict: PASS\. /);
    const text = lines.join('\n');
    expect(text).toContain('Replayed /captures/monday against http://127.0.0.1:8000 at 1.5x by compress');
    expect(text).toMatch(/truncated_request .* 3\n/);
    expect(text).toMatch(/ 404 +1 /);
    expect(text).toMatch(/ reset .* 1 /);
    expect(text).toMatch(/requests\/s +[\d.]+ +[\d.]+ +[\d.]+/);
    expect(text).toMatch(/IDC 600 s +– +– +–/);
    expect(text).toMatch(/scheduled +10\.0 ms +10\.0 ms +10\.0 ms +310\.0 ms/);
    expect(text).toMatch(/stalls +1, 300\.0 ms in all/);
    expect(text).toMatch(/latency: p\(95\)<200 +met +10\.0 ms/);
    expect(text).toMatch(/errors: rate<0\.01 +met +0\.495 %/);
    expect(text).toContain(
      '(lag_over_bound): the generator stood still 1 time, 300.0 ms in all: lag p99 0.000 ms, max 300.0 ms',
    );
    expect(text).toContain('(uncalibrated):');
  });

  test('says whether a run without an objective is valid', () => {
    const first = (document: ReplayDocument) => runText(document)[0];
    expect(first(summariseReplay(inputOf(good(5), { objectives: [] })))).toMatch(/the run itself is valid/i);
    expect(first(summariseReplay(inputOf([refused(0)], { objectives: [] })))).toMatch(
      /the run is not valid/i,
    );
  });

  test('has no trailing space, no tab and no line end inside a line', () => {
    for (const line of runText(summariseReplay(inputOf([...good(20), refused(20)])))) {
      expect(line).toMatch(/^[^\t\n\r]*$/);
      expect(line).toBe(line.trimEnd());
    }
  });

  test('does not hold it for too little that few waited for their connection within the bound of lag', () => {
    // Answers of 10 s, so that 500 ms are no delay; the last of sixty waited for 100.
    const sends = good(60).map((each, at) => {
      const waitedNs = at === 59 ? 100 * MS : 0;
      const actualOffsetNs = each.intendedOffsetNs + waitedNs;
      const lastByteOffsetNs = actualOffsetNs + 10_000 * MS;
      return { ...each, actualOffsetNs, connectionWaitNs: waitedNs, lastByteOffsetNs };
    });
    const facts = { objectives: [] };
    const { effectiveMultiplier, connectionWaits, reasons } = summariseReplay(
      inputOf(sends, facts, new RunStatistics(0, 'connections')),
    );
    expect({ effectiveMultiplier, connectionWaits, reasons }).toEqual({
      effectiveMultiplier: 1.5,
      connectionWaits: { waited: 1, late: 0, boundMs: expect.closeTo(500, -1) },
      reasons: [],
    });
  });
});
