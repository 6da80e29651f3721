import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FollowUps } from '../../../src/replay/engine/follow-ups.ts';
import type { PreparedRequest } from '../../../src/replay/engine/messages.ts';
import { prepared } from '../../support/prepared.ts';
import { outgoing } from '../../support/transport-stage.ts';
import type { ScriptedAnswer } from './scripted-transport.ts';
import { MS, START_NS, Stage } from './sender-stage.ts';

/** How much later than its instant a send may leave on the stage: some turns of its loop. */
const TURNS_NS = 60_000;

function followUp(
  index: number,
  after: number,
  delayMs: number,
  from: 'end' | 'send' = 'end',
  plannedMs = 0,
): PreparedRequest {
  return prepared(index, plannedMs * MS, { follows: { after, from, delayNs: delayMs * MS } });
}

const first = (index: number, atMs = 0) => prepared(index, atMs * MS, { follows: null });
const takes = (ms: number) => (): ScriptedAnswer => ({ afterNs: ms * MS });

function sentMs(stage: Stage): [number, number][] {
  return stage.transport.sent.map(({ index, atNs }) => [index, Math.round((atNs - START_NS) / MS)]);
}

describe('a follow-up', () => {
  test('is due at the end of what it follows plus its think time, however late that is', () => {
    const stage = new Stage(takes(500));
    stage.hand([first(0)]);
    stage.follow([followUp(1, 0, 30, 'end', 40), followUp(2, 1, 0, 'end', 80)]);
    stage.sender.finish();
    stage.playTo(2_000 * MS);
    expect(sentMs(stage)).toEqual([
      [0, 0],
      [1, 530],
      [2, 1_030],
    ]);
    const intended = stage.results.map(({ intendedOffsetNs }) => Math.round(intendedOffsetNs / MS));
    expect(intended).toEqual([0, 530, 1_030]);
    expect(stage.health).toMatchObject({ sent: 3, unreached: 0, heldBack: 0 });
  });

  test('is brought forward by a target that is faster than what was recorded', () => {
    const stage = new Stage(takes(1));
    stage.hand([first(0)]);
    stage.follow([followUp(1, 0, 10, 'end', 900)]);
    stage.sender.finish();
    stage.playTo(100 * MS);
    expect(sentMs(stage)).toEqual([
      [0, 0],
      [1, 11],
    ]);
  });

  test.each<[string, ScriptedAnswer, Parameters<typeof Stage.prototype.hand>[0]]>([
    ['fails', { afterNs: 20 * MS, error: 'reset' }, [first(0)]],
    ['is cancelled', { afterNs: 5_000 * MS }, [cancelledAfter(20)]],
  ])('goes on where what it follows %s', (_, answer, requests) => {
    const stage = new Stage((index) => (index === 0 ? answer : { afterNs: MS }));
    stage.hand(requests);
    stage.follow([followUp(1, 0, 10)]);
    stage.sender.finish();
    stage.playTo(1_000 * MS);
    expect(sentMs(stage)).toEqual([
      [0, 0],
      [1, 30],
    ]);
  });

  test('goes on where what it follows was refused by the cap', () => {
    const stage = new Stage(takes(100), {}, { maxRequests: 1 });
    stage.hand([prepared(0, 0), first(1, 5)]);
    stage.follow([followUp(2, 1, 200)]);
    stage.sender.finish();
    stage.playTo(1_000 * MS);
    expect(stage.results.filter(({ refused }) => refused).map(({ index }) => index)).toEqual([1]);
    expect(sentMs(stage)).toEqual([
      [0, 0],
      [2, 205],
    ]);
  });

  test('that overlapped when recorded is due as far behind the instant of the other', () => {
    const stage = new Stage(takes(400));
    stage.hand([first(0, 10)]);
    stage.follow([followUp(1, 0, 30, 'send'), followUp(2, 1, 5)]);
    stage.sender.finish();
    stage.playTo(2_000 * MS);
    expect(sentMs(stage)).toEqual([
      [0, 10],
      [1, 40],
      [2, 445],
    ]);
  });

  test('that comes after its instant is due from then on, and counted', () => {
    const stage = new Stage(takes(10));
    stage.hand([first(0)]);
    stage.playTo(100 * MS);
    stage.follow([followUp(1, 0, 30), followUp(2, 1, 20)]);
    stage.sender.finish();
    stage.playTo(1_000 * MS);
    expect(sentMs(stage)).toEqual([
      [0, 0],
      [1, 100],
      [2, 130],
    ]);
    expect(stage.results.map(({ intendedOffsetNs }) => Math.round(intendedOffsetNs / MS))).toEqual([
      0, 100, 130,
    ]);
    expect(stage.health).toMatchObject({ sent: 3, heldBack: 1 });
  });

  test('whose turn does not come within the drain deadline after the plan is not reached, and ends the run', () => {
    const stage = new Stage(takes(10), { drainDeadlineMs: 1_000 });
    stage.hand([first(0), prepared(9, 50 * MS)]);
    stage.follow([followUp(1, 0, 600), followUp(2, 1, 5_000), followUp(3, 2, 0)]);
    stage.sender.finish();
    stage.playTo(1_500 * MS);
    expect(sentMs(stage).map(([index]) => index)).toEqual([0, 9, 1]);
    expect(stage.health).toMatchObject({ sent: 3, unreached: 2, stopped: 0 });
    const unreached = stage.results.filter(({ actualOffsetNs }) => actualOffsetNs === null);
    expect(unreached.map(({ index, error }) => [index, error]).sort()).toEqual([
      [2, 'stopped'],
      [3, 'stopped'],
    ]);
  });

  test('has the drain deadline from its planned instant on, not from the last planned first of a session', () => {
    const stage = new Stage(takes(10), { drainDeadlineMs: 1_000 });
    stage.hand([first(0)]);
    stage.follow([followUp(1, 0, 2_490, 'end', 2_500)]);
    stage.sender.finish();
    stage.playTo(3_000 * MS);
    expect(sentMs(stage)).toEqual([
      [0, 0],
      [1, 2_500],
    ]);
    expect(stage.health).toMatchObject({ sent: 2, unreached: 0 });
  });

  test('is not sent any more after a stop, and keeps nobody', () => {
    const stage = new Stage(takes(10));
    stage.hand([first(0)]);
    stage.follow([followUp(1, 0, 600)]);
    stage.playTo(100 * MS);
    stage.sender.stop();
    stage.playTo(2_000 * MS);
    expect(sentMs(stage)).toEqual([[0, 0]]);
    expect(stage.health).not.toBeNull();
  });

  test('lets go of its room when its turn came', () => {
    const stage = new Stage(takes(10));
    stage.hand([first(0)]);
    stage.follow([followUp(1, 0, 600)]);
    stage.playTo(300 * MS);
    expect([stage.dispatched, stage.held.requests]).toEqual([1, 1]);
    stage.playTo(900 * MS);
    expect([stage.dispatched, stage.held.requests]).toEqual([1, 0]);
  });
});

function cancelledAfter(ms: number): PreparedRequest {
  const answer = { counts: false, streams: false, ends: false, cancelAfterNs: ms * MS };
  return prepared(0, 0, { follows: null, answer });
}

describe('sessions of any shape', () => {
  const turn = fc.record({
    tookMs: fc.nat({ max: 80 }),
    thinkMs: fc.nat({ max: 60 }),
    overlaps: fc.boolean(),
    error: fc.boolean(),
  });
  const session = fc.record({
    startMs: fc.nat({ max: 100 }),
    turns: fc.array(turn, { minLength: 1, maxLength: 5 }),
  });

  test('keep their order, never run ahead of their answers, and lose no request', () => {
    fc.assert(
      fc.property(fc.array(session, { minLength: 1, maxLength: 6 }), fc.boolean(), (sessions, late) => {
        const all = planOf(sessions);
        const stage = new Stage((index) => all[index]?.answer ?? { afterNs: 0 });
        stage.hand(all.flatMap(({ request }) => (request.follows === null ? [request] : [])));
        if (late) stage.playTo(60 * MS);
        const followUps = all.flatMap(({ request }) => (request.follows === null ? [] : [request]));
        for (const each of followUps) stage.follow([each]);
        stage.sender.finish();
        stage.playTo(3_000 * MS);
        expect(stage.results.map(({ index }) => index).sort((a, b) => a - b)).toEqual(all.map((_, at) => at));
        expect(stage.health).toMatchObject({ sent: all.length, refused: 0, unreached: 0 });
        const byIndex = new Map(stage.results.map((result) => [result.index, result]));
        for (const { request } of all) {
          const own = byIndex.get(request.index);
          const { follows } = request;
          if (own?.actualOffsetNs == null) throw new Error('not sent');
          expect(own.actualOffsetNs).toBeGreaterThanOrEqual(own.intendedOffsetNs);
          if (follows == null) continue;
          const before = byIndex.get(follows.after);
          const fromNs = follows.from === 'end' ? before?.lastByteOffsetNs : before?.intendedOffsetNs;
          const dueNs = (fromNs ?? Number.NaN) + follows.delayNs;
          expect(own.intendedOffsetNs).toBeGreaterThanOrEqual(dueNs);
          if (!late) expect(own.actualOffsetNs - dueNs).toBeLessThan(TURNS_NS + 32 * TURNS_NS);
        }
      }),
      { seed: 7, numRuns: 25 },
    );
  });

  test('is due when it was planned where what it follows ended so long ago that it was forgotten', () => {
    const remembered = 131_072;
    const followUps = new FollowUps(START_NS);
    for (let index = 0; index <= remembered; index += 1) {
      followUps.sent(index, START_NS + index);
      followUps.ended(index, START_NS + index + 1);
    }
    const following = (index: number, after: number) =>
      outgoing({ index, intendedOffsetNs: 500 * MS, follows: { after, from: 'end', delayNs: MS } });
    followUps.hold(following(200_000, 1), START_NS, false);
    followUps.hold(following(200_001, 0), START_NS, false);
    const offsetsNs = [followUps.shift(), followUps.shift()].map((request) => request?.intendedOffsetNs);
    expect(offsetsNs).toEqual([1 * MS + 2, 500 * MS]);
  });

  function planOf(sessions: readonly { startMs: number; turns: readonly Turn[] }[]) {
    const planned = sessions
      .flatMap(({ startMs, turns }, number) => turns.map((each, at) => ({ each, at, number, startMs })))
      .sort((a, b) => a.at - b.at || a.startMs - b.startMs);
    const lastOf = new Map<number, { index: number; overlaps: boolean; thinkMs: number }>();
    return planned.map(({ each, number, startMs }, index) => {
      const before = lastOf.get(number);
      lastOf.set(number, { index, ...each });
      const answer: ScriptedAnswer = { afterNs: each.tookMs * MS, ...(each.error ? { error: 'reset' } : {}) };
      const request =
        before === undefined
          ? first(index, startMs)
          : followUp(index, before.index, before.thinkMs, before.overlaps ? 'send' : 'end');
      return { request, answer };
    });
  }

  interface Turn {
    readonly tookMs: number;
    readonly thinkMs: number;
    readonly overlaps: boolean;
    readonly error: boolean;
  }
});
