import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { buildReport } from '../../../src/analysis/report/build-report.ts';
import { ladderOf } from '../../../src/analysis/report/latency.ts';
import { MAX_STEPS, stepFor, TimeSteps } from '../../../src/analysis/report/over-time.ts';
import { UseCounts } from '../../../src/analysis/report/statistics.ts';
import { Histogram, nearestRank } from '../../../src/core/histogram.ts';
import { mixedSends, recordedOf, reportOf, statisticsOf, summaryOf } from '../../support/reported-runs.ts';
import { HEALTHY } from '../../support/run-contexts.ts';
import { failed, refused, run, send } from '../../support/sends.ts';

const MS = 1e6;
const S = 1e9;
const QUICK = { status: 200, bytes: 20, streamed: false, tookNs: 40 * MS, tellsError: null };

describe('a report of the rows', () => {
  test('has the figures the run found while it went on, stalls included', () => {
    const sends = mixedSends(1_500).map((each) =>
      each.index % 100 < 5 && each.actualOffsetNs !== null
        ? {
            ...each,
            actualOffsetNs: each.actualOffsetNs + 2 * MS,
            lastByteOffsetNs: each.intendedOffsetNs + 600 * MS,
          }
        : each,
    );
    const health = { ...HEALTHY, stalls: 1, stalledMs: 5_000, longestStallMs: 5_000 };
    const { latencyMs, streams, counts, errors, summary, reasons } = reportOf(sends, { health });
    const at = (ladder: typeof latencyMs.scheduled, percent: number) =>
      ladder.steps.find((step) => step.percent === percent)?.ms;
    for (const percent of [50, 95, 99] as const) {
      expect(at(latencyMs.scheduled, percent)).toBe(summary?.latencyMs.scheduled[`p${percent}`]);
      expect(at(latencyMs.service, percent)).toBe(summary?.latencyMs.service[`p${percent}`]);
      expect(at(streams.ttft, percent)).toBe(summary?.ttftMs[`p${percent}`]);
      expect(at(streams.tpot, percent)).toBe(summary?.tpotMs[`p${percent}`]);
    }
    expect(counts).toMatchObject({ sent: summary?.sent, failed: summary?.failed, refused: summary?.refused });
    expect(errors.reduce((sum, { requests }) => sum + requests, 0)).toBe(summary?.failed);
    expect(reasons.map(({ code }) => code)).not.toContain('rows_differ');
  });

  test('says when the rows are not those the run was judged by', () => {
    const sends = Array.from({ length: 200 }, (_, index) => send({ index }));
    const summary = summaryOf(sends, { slo: ['errors: rate<0.9'] });
    const parts = {
      directory: 'runs/one',
      run: run(),
      summary,
      recording: { capture: null, unavailable: 'gone' },
    };
    const whole = buildReport({ ...parts, statistics: statisticsOf(sends) });
    const less = buildReport({ ...parts, statistics: statisticsOf(sends.slice(1)) });
    expect(whole).toMatchObject({ verdict: 'PASS', valid: true, reasons: [] });
    expect(less).toMatchObject({ verdict: 'PASS', valid: false, reasons: [{ code: 'rows_differ' }] });
    expect(less.headline).toContain('no longer those');
  });

  test('does not say that no answer came where 98 % were answered', () => {
    const sends = Array.from({ length: 6_000 }, (_, index) =>
      index % 50 === 0 ? failed(index) : send({ index }),
    );
    const { headline, slo } = reportOf(sends, { slo: ['latency: p(99)<200', 'errors: rate<0.5'] });
    expect(slo[0]?.observed).toBe('Infinity');
    expect(headline).not.toContain('no answer came');
  });

  test('marks percentiles that rest on too few samples', () => {
    const histogram = new Histogram();
    for (let value = 1; value <= 700; value += 1) histogram.record(value * MS);
    const { steps, count } = ladderOf(histogram);
    expect(count).toBe(700);
    expect(steps.map(({ percent, enough }) => [percent, enough])).toEqual([
      [50, true],
      [75, true],
      [90, true],
      [95, true],
      [99, true],
      [99.9, false],
      [99.99, false],
    ]);
    expect(steps.find(({ percent }) => percent === 99)).toMatchObject({ samplesNeeded: 662 });
    expect(ladderOf(new Histogram()).steps.every(({ ms, enough }) => ms === null && !enough)).toBe(true);
  });

  test('holds what was recorded beside what was sent, for each part of the mix', () => {
    const sends = mixedSends(600);
    const twice = sends.map((each) => {
      const pair = Math.floor(each.index / 2);
      return { ...each, exchangeId: pair + 1, requestBytes: 64 << (pair % 7) };
    });
    const half = twice.filter(({ index }) => index % 2 === 0);
    const { recording, latencyMs, routes, streams, inputSizes } = reportOf(twice, {}, recordedOf(half, 5));
    const sent = twice.filter(({ actualOffsetNs }) => actualOffsetNs !== null).length;
    const served = latencyMs.service.count;
    expect(recording).toMatchObject({ sought: sent, found: sent, timed: served, statuses: { 200: sent } });
    expect(latencyMs.recorded).toMatchObject({ count: served, meanMs: 5, maxMs: 5 });
    expect(streams.recordedTtft).toMatchObject({ meanMs: 1.25 });
    expect(routes.groups.reduce((sum, group) => sum + group.sent, 0)).toBe(sent);
    expect(routes.groups[0]?.recordedMs).toMatchObject({ p50: 5, p99: 5 });
    for (const group of inputSizes.groups) expect(group.recordedMs.count).toBe(group.sent - group.failed);
    const sizes = inputSizes.groups.map(({ name }) => Number.parseInt(name ?? '', 10));
    expect(sizes).toEqual(sizes.toSorted((a, b) => a - b));
  });

  test('what was recorded counts no failures as latency, as nothing beside it does', () => {
    const sends = Array.from({ length: 50 }, (_, index) =>
      send({ index, exchangeId: index + 1, route: 'POST /v1/chat/completions', streamed: true }),
    );
    const answers = recordedOf(sends, 40);
    const recorded = answers.map((answer, at) => {
      if (at < 20) return { ...answer, status: 503, lastByteOffsetUs: 300, firstTokenOffsetUs: 200 };
      // Imports say no status: that is no failure. A stream that broke is one, whatever its status.
      if (at < 25) return { ...answer, status: null };
      return at < 30 ? { ...answer, outcome: 'upstream_failed' as const } : answer;
    });
    const { recording, latencyMs, streams, routes, models, inputSizes } = reportOf(sends, {}, recorded);
    expect(latencyMs.recorded).toMatchObject({ count: 25, meanMs: 40 });
    expect(streams.recordedTtft).toMatchObject({ count: 25, meanMs: 10 });
    for (const { groups } of [routes, models, inputSizes]) {
      expect(groups.map(({ recordedMs }) => recordedMs)).toMatchObject([{ count: 25, mean: 40, p50: 40 }]);
    }
    expect(recording).toMatchObject({ found: 50, timed: 25, statuses: { 200: 25, 503: 20, none: 5 } });
  });

  test('recorded percentiles beside the replayed ones do not count those turned away in production, nor those that fail now', () => {
    const sends = Array.from({ length: 60 }, (_, index) => {
      const recorded = { ...QUICK, ...(index < 6 ? { status: 429, tookNs: MS } : {}) };
      return index % 2 === 1
        ? failed(index, { recorded: { ...recorded, tookNs: 900 * MS } })
        : send({ index, recorded });
    });
    const answers = recordedOf(sends, 40).map((answer, at) => {
      const { status, tookNs } = sends[at]!.recorded!;
      return { ...answer, status, lastByteOffsetUs: (tookNs ?? 0) / 1e3 };
    });
    const { latencyMs, routes, summary } = reportOf(sends, {}, answers);
    expect(latencyMs.recorded).toMatchObject({ count: 27, meanMs: 40, maxMs: 40 });
    expect(routes.groups[0]?.recordedMs).toMatchObject({ count: 27, p50: 40 });
    expect(summary?.asRecorded).toMatchObject({ answers: 27, latencyMs: { p50: 40, p99: 40, max: 40 } });
  });

  test('finds nothing where the capture is another one', () => {
    const { recording, latencyMs } = reportOf(mixedSends(60), {}, [
      { ...recordedOf([send({ index: 0 })], 5)[0]!, segment: 'another.sqlite' },
    ]);
    expect(recording).toMatchObject({ found: 0, timed: 0, statuses: null });
    expect(latencyMs.recorded).toBeNull();
  });

  test('is made of an empty run, of one send, and of none that was sent', () => {
    for (const sends of [[], [send({ index: 0 })], [refused(0), refused(1)], [failed(0)]]) {
      const report = reportOf(sends);
      expect(report.counts.sent).toBe(sends.filter(({ actualOffsetNs }) => actualOffsetNs !== null).length);
      expect(report.latencyMs.scheduled.count).toBe(report.counts.completed);
    }
  });
});

describe('a run over time', () => {
  test('takes at most 720 steps, whatever its length', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500_000_000 }), (seconds) => {
        expect(Math.ceil(seconds / stepFor(seconds))).toBeLessThanOrEqual(MAX_STEPS);
      }),
      { seed: 3 },
    );
    expect(stepFor(720)).toBe(1);
    expect(stepFor(721)).toBe(2);
  });

  test('has the percentiles of each step, and no other', () => {
    const time = new TimeSteps(1_500);
    expect(time.stepS).toBe(5);
    const naive = new Map<number, number[]>();
    for (let index = 0; index < 3_000; index += 1) {
      const intendedNs = index * 0.5 * S;
      const latencyMs = 1 + ((index * 7_919) % 100);
      time.addLatency(intendedNs, latencyMs * MS, latencyMs * MS);
      const at = Math.floor((index * 0.5) / 5);
      naive.set(at, [...(naive.get(at) ?? []), latencyMs]);
    }
    const { samples, p50Ms, p99Ms, at } = time.columns();
    expect(at).toHaveLength(300);
    for (const [step, values] of naive) {
      const sorted = values.toSorted((a, b) => a - b);
      expect(samples[step]).toBe(values.length);
      expect(p50Ms[step]! / sorted[nearestRank(50, sorted.length) - 1]!).toBeCloseTo(1, 2);
      expect(p99Ms[step]! / sorted[nearestRank(99, sorted.length) - 1]!).toBeCloseTo(1, 2);
    }
  });

  test('counts a request for the step it was due in where sessions wait, and rows come in another order', () => {
    const [inOrder, waited] = [new TimeSteps(30), new TimeSteps(30)];
    const rows = Array.from({ length: 3_000 }, (_, index) => ({
      intendedNs: index * 0.01 * S,
      latencyNs: (1 + ((index * 7_919) % 100)) * (1 + Math.floor(index / 100)) * MS,
    }));
    for (const { intendedNs, latencyNs } of rows) inOrder.addLatency(intendedNs, latencyNs, 2 * latencyNs);
    // Every third request of a session that waits comes due long after its neighbours in the schedule.
    const late = rows.filter((_, at) => at % 3 === 0).toReversed();
    for (const [at, row] of rows.entries()) {
      const { intendedNs, latencyNs } = at % 3 === 0 ? late[at / 3]! : row;
      waited.addLatency(intendedNs, latencyNs, 2 * latencyNs);
    }
    expect(new Set(waited.columns().samples)).toEqual(new Set([100]));
    expect(waited.columns()).toEqual(inOrder.columns());
  });

  test('takes as many steps together as the percentile of an objective needs samples', () => {
    const time = new TimeSteps(60);
    // 50 requests a second, all in 10 ms but one of a hundred.
    for (let at = 0; at < 3_000; at += 1)
      time.addLatency(at * 20 * MS, (at % 100 === 0 ? 90 : 10) * MS, 10 * MS);
    expect(time.latencySteps(95)).toMatchObject({ percent: 95, stepS: 3, at: { length: 20 } });
    const p99 = time.latencySteps(99);
    expect(p99).toMatchObject({ percent: 99, stepS: 15, at: [0, 15, 30, 45], samples: [750, 750, 750, 750] });
    expect(p99.tailMs.every((value) => value !== null)).toBe(true);
    // No width has what a p99.9 needs: the next percentile that can be had is taken.
    expect(time.latencySteps(99.9)).toEqual(p99);
  });

  test('leaves out a step with too few requests for its percentile', () => {
    const time = new TimeSteps(10);
    for (let at = 0; at < 1_000; at += 1) {
      const second = Math.floor(at / 100);
      if (second !== 4 || at % 100 < 3) time.addLatency(at * 10 * MS, 10 * MS, 10 * MS);
    }
    const { percent, stepS, samples, tailMs, p50Ms } = time.latencySteps(90);
    expect([percent, stepS, samples[4]]).toEqual([90, 1, 3]);
    expect(tailMs.map((value) => value === null)).toEqual(samples.map((count) => count < 64));
    expect(p50Ms[4]).toBeNull();
  });

  test('keeps the most in flight of a step, and carries it over steps in which nothing happens', () => {
    const time = new TimeSteps(1_000);
    const second = { offered: 1, sent: 1, completed: 0, failed: 0, refused: 0, lagMaxNs: null };
    time.addSecond({ ...second, second: 0, inFlight: 7 });
    time.addSecond({ ...second, second: 1, inFlight: 3, lagMaxNs: 4 * MS });
    time.addSecond({ ...second, second: 9, inFlight: 0 });
    const { inFlight, offered, lagMaxMs, p50Ms } = time.columns();
    expect(inFlight.slice(0, 6)).toEqual([7, 3, 3, 3, 0, 0]);
    expect(offered.slice(0, 5)).toEqual([2, 0, 0, 0, 1]);
    expect(lagMaxMs.slice(0, 2)).toEqual([4, null]);
    expect(p50Ms.every((value) => value === null)).toBe(true);
  });

  test('spreads latency over classes whose shares make a whole', () => {
    const { latencyMap } = reportOf(mixedSends(2_000));
    expect(latencyMap.at.length).toBeLessThanOrEqual(36);
    for (const column of latencyMap.at.keys()) {
      const shares = latencyMap.classes.map(({ shares }) => shares[column]);
      if (shares.every((share) => share === null)) continue;
      expect(shares.reduce<number>((sum, share) => sum + (share ?? 0), 0)).toBeCloseTo(1, 9);
    }
    for (const { fromMs, toMs } of latencyMap.classes) expect(toMs).toBeGreaterThan(fromMs);
  });
});

test('uses are counted by segment and id, at any order, and refuse what no segment has', () => {
  const uses = new UseCounts();
  for (const id of [5_000, 3, 3, 2 ** 30, -1]) uses.add('a', id, { sizeClass: 4, served: id === 3 });
  uses.add('b', 3, { sizeClass: 9, served: true });
  expect(uses.of('a', 3)).toEqual({ times: 2, served: 2, sizeClass: 4 });
  expect(uses.of('b', 3)).toEqual({ times: 1, served: 1, sizeClass: 9 });
  expect(uses.of('a', 5_000)).toEqual({ times: 1, served: 0, sizeClass: 4 });
  expect([uses.of('a', 4), uses.of('c', 3), uses.of('a', 2 ** 30), uses.of('a', -1)]).toEqual([
    null,
    null,
    null,
    null,
  ]);
  expect(uses.total).toBe(6);
});
