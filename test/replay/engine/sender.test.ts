import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Durations } from '../../../src/replay/engine/health.ts';
import { offsetsOf, prepared } from '../../support/prepared.ts';
import { atOnce, MS, START_NS, Stage, TICK_NS } from './sender-stage.ts';

describe('the sender', () => {
  test('sends each request once, in order, never before its instant and microseconds after it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constant(0), fc.nat(3 * MS)), { minLength: 1, maxLength: 40 }),
        (gaps) => {
          const stage = new Stage(atOnce);
          const offsets = offsetsOf(gaps);
          const requests = offsets.map((offsetNs, index) => prepared(index, offsetNs));
          stage.hand(requests);
          stage.sender.finish();
          stage.playTo((offsets.at(-1) ?? 0) + 200 * MS);
          expect(stage.transport.sent.map(({ index }) => index)).toEqual(requests.map(({ index }) => index));
          stage.transport.sent.forEach(({ atNs }, index) => {
            const lagNs = atNs - START_NS - (requests[index]?.intendedOffsetNs ?? 0);
            expect(lagNs).toBeGreaterThanOrEqual(0);
            expect(lagNs).toBeLessThan(60_000);
          });
          expect(stage.results.map(({ index }) => index).sort((a, b) => a - b)).toEqual(
            requests.map(({ index }) => index),
          );
          expect(stage.health).toMatchObject({
            sent: requests.length,
            refused: 0,
            stopped: 0,
            starved: 0,
            stalls: [],
          });
        },
      ),
      { numRuns: 30 },
    );
  });

  test('reports what it stamped, as offsets of the run', () => {
    const stage = new Stage(() => ({ afterNs: 3 * MS, status: 503 }));
    stage.hand([prepared(0, 10 * MS)]);
    stage.sender.finish();
    stage.playTo(200 * MS);
    const [result] = stage.results;
    expect(result).toMatchObject({
      index: 0,
      intendedOffsetNs: 10 * MS,
      status: 503,
      responseBytes: 10,
      error: null,
    });
    const actual = result?.actualOffsetNs ?? -1;
    expect(actual).toBeGreaterThanOrEqual(10 * MS);
    expect(result?.startOffsetNs).toBe(actual);
    expect(result?.lastByteOffsetNs).toBeGreaterThanOrEqual(actual + 3 * MS);
  });

  test('is not delayed by a target that never answers', () => {
    const stage = new Stage(() => ({ afterNs: Number.POSITIVE_INFINITY }));
    stage.hand(Array.from({ length: 100 }, (_, index) => prepared(index, index * MS)));
    stage.playTo(120 * MS);
    expect(stage.transport.sent).toHaveLength(100);
    const lags = stage.transport.sent.map(({ index, atNs }) => atNs - START_NS - index * MS);
    expect(Math.max(...lags)).toBeLessThan(60_000);
  });

  test('refuses what the in-flight cap does not let out, counts it, and queues none of it', () => {
    const stage = new Stage((index) => ({ afterNs: index < 2 ? 10.5 * MS : 50_000 }), {}, { maxRequests: 2 });
    stage.hand(Array.from({ length: 20 }, (_, index) => prepared(index, index * MS)));
    stage.sender.finish();
    stage.playTo(200 * MS);
    expect(stage.transport.sent.map(({ index }) => index)).toEqual([0, 1, ...range(11, 20)]);
    const refused = stage.results.filter((result) => result.refused);
    expect(refused.map(({ index }) => index)).toEqual(range(2, 11));
    expect(
      refused.every(({ actualOffsetNs, error, status }) => (actualOffsetNs ?? error ?? status) === null),
    ).toBe(true);
    expect(stage.health).toMatchObject({ sent: 11, refused: 9, inFlightMax: 2 });
    expect(stage.dispatched).toBe(20);
  });

  test('counts what this host had no socket for as refused, and not as sent', () => {
    const stage = new Stage((index) => ({ afterNs: MS, ...(index % 2 === 1 && { error: 'no_socket' }) }));
    stage.hand(Array.from({ length: 10 }, (_, index) => prepared(index, index * MS)));
    stage.sender.finish();
    stage.playTo(200 * MS);
    expect(stage.health).toMatchObject({ sent: 5, refused: 5, refusedForBytes: 0 });
    const unsent = stage.results.filter(({ index }) => index % 2 === 1);
    expect(unsent.map(({ refused, error, actualOffsetNs }) => [refused, error, actualOffsetNs])).toEqual(
      Array.from({ length: 5 }, () => [true, 'no_socket', null]),
    );
  });

  test('refuses what the bytes of bodies under way leave no room for, and counts it apart', () => {
    const stage = new Stage(() => ({ afterNs: 10.5 * MS }), {}, { maxBodyBytes: 4 * 1_024 });
    const body = Buffer.alloc(1_024);
    stage.hand(Array.from({ length: 20 }, (_, index) => prepared(index, index * MS, { body })));
    stage.sender.finish();
    stage.playTo(200 * MS);
    expect(stage.transport.sent.map(({ index }) => index)).toEqual([0, 1, 2, 3, 11, 12, 13, 14]);
    expect(stage.health).toMatchObject({ sent: 8, refused: 12, refusedForBytes: 12 });
  });

  test('has a request wait for its recorded connection, and tells that wait apart from lag', () => {
    const stage = new Stage((index) => ({ afterNs: index === 0 ? 50 * MS : MS / 10 }));
    const lanes = [7, 7, null, 7, 8];
    stage.hand(lanes.map((lane, index) => prepared(index, index * MS, { lane })));
    stage.sender.finish();
    stage.playTo(200 * MS);
    expect(stage.transport.sent.map(({ index }) => index)).toEqual([0, 2, 4, 1, 3]);
    const byIndex = stage.results.toSorted((a, b) => a.index - b.index);
    const waitsMs = byIndex.map(({ connectionWaitNs }) =>
      connectionWaitNs === null ? null : Math.round(connectionWaitNs / MS),
    );
    expect(waitsMs).toEqual([0, 49, null, 47, 0]);
    for (const { actualOffsetNs, connectionWaitNs, intendedOffsetNs } of byIndex) {
      const lagNs = (actualOffsetNs ?? 0) - (connectionWaitNs ?? 0) - intendedOffsetNs;
      expect(lagNs).toBeGreaterThanOrEqual(0);
      expect(lagNs).toBeLessThan(60_000);
    }
    expect(Durations.merged([stage.health?.lag ?? new Float64Array(1)]).summary().maxNs).toBeLessThan(60_000);
    expect(stage.health).toMatchObject({ sent: 5, unreached: 0, stalls: [] });
  });

  test('does not send what still waits for its connection when it is stopped', () => {
    const stage = new Stage(() => ({ afterNs: 5 * MS }));
    stage.hand([0, 1, 2].map((index) => prepared(index, index * MS, { lane: 1 })));
    stage.playTo(4 * MS);
    stage.sender.stop();
    stage.playTo(300 * MS);
    expect(stage.transport.sent).toHaveLength(1);
    expect(stage.health).toMatchObject({ sent: 1, unreached: 2, stopped: 0 });
    const waiting = stage.results.filter(({ actualOffsetNs }) => actualOffsetNs === null);
    expect(waiting.map(({ index, error, refused }) => [index, error, refused])).toEqual([
      [1, 'stopped', false],
      [2, 'stopped', false],
    ]);
  });

  test('gives each that waited its time, and gives up when the drain deadline passes without a send', () => {
    const stage = new Stage(() => ({ afterNs: Number.POSITIVE_INFINITY }), {
      totalTimeoutMs: 100,
      drainDeadlineMs: 150,
    });
    stage.hand([0, 1, 2].map((index) => prepared(index, 0, { lane: 1 })));
    stage.sender.finish();
    stage.playTo(1_000 * MS);
    expect(stage.results.map(({ index, error }) => [index, error])).toEqual([
      [0, 'total_timeout'],
      [1, 'total_timeout'],
      [2, 'total_timeout'],
    ]);
    expect(stage.health).toMatchObject({ sent: 3, unreached: 0 });
  });

  test('sleeps while nothing is near', () => {
    const stage = new Stage(atOnce);
    stage.hand([prepared(0, 0), prepared(1, 600_000 * MS)]);
    stage.playTo(10 * MS);
    const turns = stage.turns;
    stage.playTo(9_000 * MS);
    expect(stage.turns).toBe(turns);
    expect(stage.awake).toBe(false);
  });

  test('works off a stall in order, at the peak rate and without re-anchoring, and marks the stretch', () => {
    const stage = new Stage(atOnce);
    stage.hand(Array.from({ length: 400 }, (_, index) => prepared(index, index * 2 * MS)));
    stage.sender.finish();
    stage.playTo(101 * MS);
    stage.freeze(300 * MS);
    stage.playTo(2_000 * MS);
    const sent = stage.transport.sent;
    expect(sent.map(({ index }) => index)).toEqual(range(0, 400));
    const overdue = sent.slice(51, 200);
    for (let i = 1; i < overdue.length; i++) {
      const gapNs = (overdue[i]?.atNs ?? 0) - (overdue[i - 1]?.atNs ?? 0);
      expect(gapNs).toBeGreaterThan(0.9 * MS);
    }
    const last = sent.at(-1);
    expect((last?.atNs ?? 0) - START_NS - 399 * 2 * MS).toBeLessThan(60_000);
    expect(stage.health?.stalls).toHaveLength(1);
    const [stall] = stage.health?.stalls ?? [];
    expect(stall?.fromOffsetNs).toBeGreaterThanOrEqual(100 * MS);
    expect(stall?.fromOffsetNs).toBeLessThanOrEqual(202 * MS);
    expect(stall?.toOffsetNs).toBeGreaterThan(600 * MS);
    expect(stall?.toOffsetNs).toBeLessThan(760 * MS);
  });

  test('counts requests that came after their time as starved, and sends them', () => {
    const stage = new Stage(atOnce);
    stage.playTo(30 * MS);
    stage.hand([prepared(0, 10 * MS), prepared(1, 20 * MS), prepared(2, 40 * MS)]);
    stage.sender.finish();
    stage.playTo(200 * MS);
    expect(stage.health).toMatchObject({ sent: 3, starved: 2 });
  });

  test('ends what takes longer than its time in all', () => {
    const never = { afterNs: Number.POSITIVE_INFINITY };
    const stage = new Stage((index) => (index === 1 ? never : { afterNs: 50_000 }), {
      totalTimeoutMs: 1_000,
    });
    stage.hand(Array.from({ length: 3 }, (_, index) => prepared(index, index * MS)));
    stage.sender.finish();
    stage.playTo(1_500 * MS);
    expect(stage.results.map(({ index, error }) => [index, error])).toEqual([
      [0, null],
      [2, null],
      [1, 'total_timeout'],
    ]);
  });

  test('takes no time from a request in which the process stood still, for it could not be heard then', () => {
    const stage = new Stage(() => ({ afterNs: Number.POSITIVE_INFINITY }), { totalTimeoutMs: 1_000 });
    stage.hand([prepared(0, 0)]);
    stage.sender.finish();
    stage.playTo(500 * MS);
    stage.freeze(2_000 * MS);
    stage.playTo(2_850 * MS);
    expect(stage.results).toEqual([]);
    stage.playTo(3_000 * MS + 3 * TICK_NS);
    expect(stage.results.map(({ error }) => error)).toEqual(['total_timeout']);
  });

  test('takes no time from the drain in which the process stood still', () => {
    const stage = new Stage(() => ({ afterNs: Number.POSITIVE_INFINITY }), { drainDeadlineMs: 1_000 });
    stage.hand([prepared(0, 0)]);
    stage.playTo(100 * MS);
    stage.sender.stop();
    stage.freeze(5_000 * MS);
    stage.playTo(5_900 * MS);
    expect(stage.results).toEqual([]);
    stage.playTo(6_100 * MS + 3 * TICK_NS);
    expect(stage.results.map(({ error }) => error)).toEqual(['stopped']);
  });

  test('marks a stop of 300 ms in which nothing was due', () => {
    const stage = new Stage(atOnce);
    stage.hand([prepared(0, 0), prepared(1, 1_000 * MS)]);
    stage.sender.finish();
    stage.playTo(100 * MS + 1);
    stage.freeze(300 * MS);
    stage.playTo(1_100 * MS);
    expect(stage.health?.stalls).toHaveLength(1);
  });

  test('stops at once when told to, lets what is in flight finish, and gives up on the rest at the deadline', () => {
    const stage = new Stage((index) => ({ afterNs: index === 0 ? 500 * MS : Number.POSITIVE_INFINITY }), {
      drainDeadlineMs: 1_000,
    });
    stage.hand(Array.from({ length: 50 }, (_, index) => prepared(index, index * 10 * MS)));
    stage.playTo(15 * MS);
    stage.sender.stop();
    stage.playTo(800 * MS);
    expect(stage.health).toBeNull();
    stage.playTo(2_000 * MS);
    expect(stage.results.map(({ index, error }) => [index, error])).toEqual([
      [0, null],
      [1, 'stopped'],
    ]);
    expect(stage.health).toMatchObject({ sent: 2, stopped: 1 });
  });

  test('is over at once when there was nothing to send', () => {
    const stage = new Stage(atOnce);
    stage.sender.finish();
    stage.playTo(1 * MS);
    expect(stage.health).toMatchObject({ sent: 0, refused: 0 });
  });

  test('catches up after a stall although its loop runs only once in four milliseconds', () => {
    // As beside busy programs. The recorded peak is the rate of the plan.
    const stage = new Stage(atOnce, { catchUpGapNs: MS });
    stage.hand(Array.from({ length: 1_500 }, (_, index) => prepared(index, index * MS)));
    stage.playTo(100 * MS);
    stage.freeze(80 * MS);
    for (let turns = 0; turns < 300; turns += 1) {
      stage.freeze(4 * MS);
      stage.playTo(stage.clock.nowNs() - START_NS + 100_000);
    }
    const lagMs = stage.transport.sent.map(({ index, atNs }) => (atNs - START_NS) / MS - index);
    expect(Math.max(...lagMs)).toBeGreaterThan(70);
    expect(lagMs.at(-1)).toBeLessThan(10);
    // Never many at once: at most as many as the loop was late for, a little more while it catches up, and no burst.
    const instants = [
      ...Map.groupBy(stage.transport.sent, ({ atNs }) => Math.round((atNs - START_NS) / MS)).values(),
    ];
    expect(Math.max(...instants.slice(100).map((each) => each.length))).toBeLessThanOrEqual(15);
  });
});

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
