import { describe, expect, test } from 'vitest';
import { NOTHING_EXPECTED } from '../../src/replay/expected-answer.ts';
import { LAUNCH_BYTES, LAUNCH_SLOTS } from '../../src/replay/launch-pad.ts';
import type { PreparedRequest } from '../../src/replay/prepared-request.ts';
import type { OutgoingRequest } from '../../src/replay/send-batch.ts';
import { CONNECTIONS, LaunchStage } from '../support/launch-stage.ts';
import { outgoing } from '../support/transport-stage.ts';

const MS = 1_000_000;

/** So many requests, a millisecond apart unless told otherwise. */
function planned(
  count: number,
  parts: (index: number) => Partial<PreparedRequest> = () => ({}),
): OutgoingRequest[] {
  return Array.from({ length: count }, (_, index) =>
    outgoing({ intendedOffsetNs: (index + 1) * MS, ...parts(index) }, index),
  );
}

const tied = (count: number): OutgoingRequest[] => planned(count, () => ({ intendedOffsetNs: MS }));

describe('what follows a request that its sender has again', () => {
  test.each(['failed', 'left'] as const)('is not launched before that was sent: %s', (kind) => {
    const stage = new LaunchStage(tied(5));
    stage.launches.layOut();
    expect(stage.due()).toBe(true);
    if (kind === 'failed') stage.takes.push('throws');
    expect(stage.launcher.pass(0)).toBe(true);
    if (kind === 'failed') expect(stage.launcher.launch(0)).toBe(false);
    else stage.launcher.leave(0);
    // Before the sender looked, two more are due.
    expect([stage.due(), stage.due()]).toEqual([false, false]);
    expect(stage.written).toEqual(['10: <0>']);

    stage.launches.settle();
    expect(stage.told).toEqual(['launched 0', `${kind} 1`]);
    expect(stage.launches.size).toBe(0);
    expect(stage.inFlight.requests).toBe(1);
    stage.launches.layOut();
    expect(stage.launches.size).toBe(0);
    for (let own = 0; own < 3; own += 1) stage.sendFirst();
    stage.launches.layOut();
    expect(stage.due()).toBe(true);
    stage.launches.settle();
    expect(stage.told).toEqual(['launched 0', `${kind} 1`, 'sent 1', 'sent 2', 'sent 3', 'launched 4']);
    expect(stage.written.map((each) => each.replace(/.*: /, ''))).toEqual(['<0>', '<4>']);
  });

  test('is taken back first: what is left to the sender lets nothing pass in the moment between', () => {
    const stage = new LaunchStage(tied(3));
    stage.launches.layOut();
    stage.takes.push('throws');
    stage.due();
    // The pacer is at the next one exactly while the sender takes note of the first.
    stage.launcher.pass(0);
    stage.transport.onWithdraw = () => expect(stage.launcher.launch(0)).toBe(false);
    stage.launches.settle();
    expect(stage.written).toEqual([]);
    expect(stage.told).toEqual(['failed 0']);
    expect(stage.transport.withdrawn).toEqual([2, 1]);
  });
});

describe('what a sender lays out', () => {
  test('are its first requests, in order, as many as there is room for', () => {
    const stage = new LaunchStage(tied(2 * LAUNCH_SLOTS));
    stage.launches.layOut();
    expect(stage.launches.size).toBe(LAUNCH_SLOTS);
    expect(stage.pad.hasMore(0)).toBe(true);
    for (let nth = 0; nth < LAUNCH_SLOTS; nth += 1) {
      // The last one wakes the sender, which has more and room for it.
      expect(stage.due()).toBe(nth < LAUNCH_SLOTS - 1);
    }
    stage.launches.settle();
    expect(stage.told).toEqual([...Array(LAUNCH_SLOTS).keys()].map((index) => `launched ${index}`));
    stage.launches.layOut();
    expect(stage.launches.size).toBe(LAUNCH_SLOTS);
    expect(stage.due()).toBe(true);
    expect(stage.written.at(-1)).toContain(`: <${LAUNCH_SLOTS}>`);
  });

  test('are all it has, and then it wants no more', () => {
    const stage = new LaunchStage(planned(3));
    stage.launches.layOut();
    expect(stage.launches.size).toBe(3);
    expect(stage.pad.hasMore(0)).toBe(false);
    stage.at(2 * MS);
    expect([stage.due(), stage.due(), stage.due()]).toEqual([true, true, true]);
    expect(stage.written).toEqual(['10: <0>', '11: <1>', '12: <2>']);
  });

  test.each<[string, Partial<PreparedRequest>]>([
    ['has a recorded connection', { lane: 4 }],
    ['is too long', { body: Buffer.alloc(LAUNCH_BYTES + 1) }],
  ])('ends before one that %s, and goes on behind it once that was sent', (_title, parts) => {
    const stage = new LaunchStage(
      planned(5, (index) => ({ intendedOffsetNs: MS, ...(index === 2 ? parts : {}) })),
    );
    stage.launches.layOut();
    expect(stage.launches.size).toBe(2);
    expect(stage.pad.hasMore(0)).toBe(false);
    expect([stage.due(), stage.due(), stage.due()]).toEqual([true, true, null]);
    stage.launches.settle();
    stage.launches.layOut();
    expect(stage.launches.size).toBe(0);
    stage.sendFirst();
    stage.launches.layOut();
    expect([stage.due(), stage.due()]).toEqual([true, true]);
    stage.launches.settle();
    expect(stage.told).toEqual(['launched 0', 'launched 1', 'sent 2', 'launched 3', 'launched 4']);
  });

  test('ends where no connection is idle, and goes on with the first that is', () => {
    const stage = new LaunchStage(tied(5), 2);
    stage.launches.layOut();
    expect(stage.launches.size).toBe(2);
    expect(stage.pad.hasMore(0)).toBe(false);
    stage.transport.idle.push(99);
    stage.launches.layOut();
    for (let nth = 0; nth < 3; nth += 1) stage.due();
    expect(stage.written).toEqual(['10: <0>', '11: <1>', '99: <2>']);
  });

  test('is due within a quarter of a second', () => {
    const stage = new LaunchStage(planned(3, (index) => ({ intendedOffsetNs: index * 250 * MS + 1 })));
    stage.launches.layOut();
    expect(stage.launches.size).toBe(1);
    stage.at(1);
    stage.launches.layOut();
    expect(stage.launches.size).toBe(2);
  });

  test('is nothing whose instant has passed by', () => {
    const stage = new LaunchStage(tied(3));
    expect(stage.due()).toBeNull();
    stage.launches.layOut();
    expect(stage.launches.size).toBe(0);
    expect(stage.transport.idle).toHaveLength(CONNECTIONS);
    expect(stage.transport.withdrawn).toEqual([]);
    stage.sendFirst();
    stage.launches.layOut();
    expect(stage.launches.size).toBe(2);
  });

  test('is nothing whose instant is there, passed by or not', () => {
    const stage = new LaunchStage(planned(2));
    stage.at(MS);
    stage.launches.layOut();
    expect(stage.launches.size).toBe(0);
    stage.sendFirst();
    stage.launches.layOut();
    expect(stage.launches.size).toBe(1);
  });

  test('leaves its connection free where its instant passes by in that very moment', () => {
    const stage = new LaunchStage(tied(2));
    const { layOut } = stage.pad;
    stage.pad.layOut = (...args) => {
      stage.due();
      return layOut.apply(stage.pad, args);
    };
    stage.launches.layOut();
    expect(stage.launches.size).toBe(0);
    expect(stage.transport.withdrawn).toEqual([0]);
    expect(stage.transport.idle).toHaveLength(CONNECTIONS);
  });

  test.each<[string, Partial<PreparedRequest>]>([
    ['leads to others', { follows: null }],
    ['has a client that leaves', { answer: { ...NOTHING_EXPECTED, cancelAfterNs: 5 * MS } }],
  ])('tells at once that it has left where it %s', (_title, parts) => {
    const stage = new LaunchStage(planned(2, (index) => (index === 0 ? parts : {})));
    stage.launches.layOut();
    expect([stage.due(), stage.due()]).toEqual([false, true]);
    expect(stage.written).toHaveLength(2);
  });
});

describe('what is laid out', () => {
  test('is taken back, the last first, and its connections are free', () => {
    const stage = new LaunchStage(tied(4));
    stage.launches.layOut();
    stage.launches.withdraw();
    expect(stage.transport.withdrawn).toEqual([3, 2, 1, 0]);
    expect(stage.transport.idle).toHaveLength(CONNECTIONS);
    expect([stage.launches.size, stage.told, stage.due()]).toEqual([0, [], null]);
  });

  test('is told of where it has left before it could be taken back', () => {
    const stage = new LaunchStage(tied(4));
    stage.launches.layOut();
    stage.due();
    stage.due();
    stage.launches.withdraw();
    expect(stage.transport.withdrawn).toEqual([3, 2]);
    expect(stage.told).toEqual(['launched 0', 'launched 1']);
    expect(stage.planned.map(({ index }) => index)).toEqual([2, 3]);
    expect(stage.launched.map(({ end }) => end)).toEqual([
      { kind: 'launched', atNs: stage.clock.nowNs(), writtenBytes: 3, inFlight: 1 },
      { kind: 'launched', atNs: stage.clock.nowNs(), writtenBytes: 3, inFlight: 2 },
    ]);
  });

  test('has left or comes back, it and what follows, when its connection has to know', () => {
    const stage = new LaunchStage(planned(5));
    stage.launches.layOut();
    stage.due();
    // Of the third, which has not left: the first has, and the second stays where it is.
    stage.transport.needs.get(12)?.();
    expect(stage.transport.withdrawn).toEqual([4, 3, 2]);
    expect(stage.told).toEqual(['launched 0']);
    expect(stage.launches.size).toBe(1);
    // Of the second, which has left meanwhile.
    stage.due();
    stage.transport.needs.get(11)?.();
    expect(stage.told).toEqual(['launched 0', 'launched 1']);
    expect(stage.transport.withdrawn).toEqual([4, 3, 2]);
    stage.launches.layOut();
    stage.due();
    stage.launches.settle();
    expect(stage.told.at(-1)).toBe('launched 2');
  });

  test('stays where it is when a connection asks for one before it that has left', () => {
    const stage = new LaunchStage(planned(4));
    stage.launches.layOut();
    stage.due();
    stage.transport.needs.get(10)?.();
    expect(stage.told).toEqual(['launched 0']);
    expect(stage.transport.withdrawn).toEqual([]);
    expect(stage.launches.size).toBe(3);
  });

  test('is told of before its connection goes on where it left in that very moment', () => {
    const stage = new LaunchStage(tied(2));
    stage.launches.layOut();
    const { takeBack } = stage.pad;
    stage.pad.takeBack = (sender, order) => {
      if (order === 0) stage.due();
      return takeBack.call(stage.pad, sender, order);
    };
    stage.transport.needs.get(10)?.();
    expect(stage.transport.withdrawn).toEqual([1]);
    expect(stage.told).toEqual(['launched 0']);
  });

  test("is its sender's again once it is late by more than a grace, all of it", () => {
    const stage = new LaunchStage(planned(3));
    stage.launches.layOut();
    stage.at(MS + 50_000);
    stage.launches.settle();
    expect(stage.transport.withdrawn).toEqual([]);
    stage.at(MS + 50_001);
    stage.launches.settle();
    expect(stage.transport.withdrawn).toEqual([2, 1, 0]);
    // The pacer has not passed it by, so that it may be laid out again: its sender sends it first.
    stage.sendFirst();
    stage.launches.layOut();
    expect(stage.due()).toBeNull();
    expect(stage.due()).toBe(true);
    expect(stage.written).toEqual(['10: <1>']);
    stage.launches.settle();
    expect(stage.told).toEqual(['overdue 0', 'sent 0', 'launched 1']);
  });

  test('keeps what of it was not written, whatever lies in its place later', () => {
    const stage = new LaunchStage(tied(LAUNCH_SLOTS + 1));
    stage.launches.layOut();
    stage.takes.push(1);
    expect(stage.due()).toBe(false);
    stage.launches.settle();
    expect(stage.launched[0]?.end).toMatchObject({ kind: 'launched', writtenBytes: 1 });
    stage.launches.layOut();
    expect(stage.launches.size).toBe(LAUNCH_SLOTS);
    expect(stage.launched[0]?.rest?.toString()).toBe('0>');
    stage.due();
    stage.launches.settle();
    expect(stage.launched[1]?.rest).toBeNull();
  });

  test('goes no further than its sender has requests: one whose connection took nothing is sent by another', () => {
    const stage = new LaunchStage(tied(2));
    stage.launches.layOut();
    stage.takes.push('throws');
    stage.due();
    stage.launches.settle();
    expect(stage.transport.discarded).toEqual([10]);
    expect(stage.told).toEqual(['failed 0']);
    expect(stage.planned).toHaveLength(2);
    stage.sendFirst();
    stage.launches.layOut();
    stage.due();
    stage.launches.settle();
    expect(stage.told).toEqual(['failed 0', 'sent 0', 'launched 1']);
  });
});
