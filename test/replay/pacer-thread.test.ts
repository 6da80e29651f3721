import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LAUNCH_SLOTS } from '../../src/replay/launch-pad.ts';
import { LAUNCH_LATE_NS, WAKE_LEAD_NS } from '../../src/replay/pacer-thread.ts';
import { type Due, Played, START_NS, tied } from '../support/played-pacer.ts';

const MS = 1_000_000;

describe('the pacer', () => {
  test('launches each request once and in order, at its instant and not before', () => {
    const due = fc.record({ gapNs: fc.nat(300_000), sender: fc.nat(2) });
    fc.assert(
      fc.property(fc.array(due, { minLength: 1, maxLength: 20 }), fc.nat(200_000), (gaps, lateNs) => {
        let offsetNs = 0;
        const room = [0, 0, 0];
        const dues = gaps.flatMap(({ gapNs, sender }) => {
          offsetNs += gapNs;
          room[sender] = (room[sender] as number) + 1;
          return (room[sender] as number) > LAUNCH_SLOTS ? [] : [{ offsetNs, sender }];
        });
        const played = new Played(dues, 3);
        played.ring.lateNs = lateNs;
        dues.forEach(({ sender }, index) => {
          played.layOut(sender, index);
        });
        played.run();
        expect(played.fds).toEqual([...dues.keys()]);
        for (const [index, { atNs }] of played.written.entries())
          expect(atNs).toBeGreaterThanOrEqual(START_NS + (dues[index] as Due).offsetNs);
        // There was nothing that any of them had to be told.
        expect(played.woken).toEqual([]);
      }),
    );
  });

  test('is up before the instant of what is laid out, and waits for that awake', () => {
    const played = new Played(tied(1), 1);
    played.ring.lateNs = 50_000;
    played.layOut(0, 7);
    const { count } = played.run();
    expect(count).toBe(1);
    expect(played.ring.slept).toHaveLength(1);
    expect(START_NS + MS - (played.written[0]?.atNs ?? 0)).toBeLessThanOrEqual(0);
    // Not a tick more than the looks it takes to see that it is time, and to stamp it.
    expect((played.written[0]?.atNs ?? 0) - START_NS - MS).toBeLessThanOrEqual(2 * played.clock.tickNs);
  });

  test('sleeps longer where it is up in time, and no longer where it is not', () => {
    const senders = 30;
    const dues = Array.from({ length: senders * LAUNCH_SLOTS }, (_, nth) => ({
      offsetNs: (nth + 1) * MS,
      sender: nth % senders,
    }));
    const moreSleptMs = [0, 70_000].map((lateNs) => {
      const played = new Played(dues, senders);
      for (const { sender } of dues) played.layOut(sender, 5);
      played.ring.lateNs = lateNs;
      played.run();
      expect(played.fds).toHaveLength(dues.length);
      // Of a sleep and what it was late by, from one instant to the next.
      return (played.ring.slept.at(-1) ?? 0) - (played.ring.slept[1] ?? 0);
    });
    expect(moreSleptMs[0]).toBeGreaterThan(0.04);
    expect(moreSleptMs[1]).toBeLessThan(0.005);
  });

  test('wakes a sender ahead of an instant for what is not laid out, once for all that is due then', () => {
    const played = new Played([...tied(5, 0), ...tied(3, 2), { offsetNs: 5 * MS, sender: 1 }], 3);
    played.run();
    expect(played.woken.map(({ sender }) => sender)).toEqual([0, 2, 1]);
    const wokenAtNs = played.woken.map(({ atNs }) => atNs);
    expect(wokenAtNs[0]).toBeGreaterThanOrEqual(START_NS + MS - WAKE_LEAD_NS);
    expect(wokenAtNs[1]).toBeLessThan(START_NS + MS);
    expect(wokenAtNs[2]).toBeGreaterThanOrEqual(START_NS + 5 * MS - WAKE_LEAD_NS);
    expect(wokenAtNs[2]).toBeLessThan(START_NS + 5 * MS);
    expect(played.written).toEqual([]);
  });

  test('wakes no sender that is awake', () => {
    const played = new Played([...tied(2, 0), ...tied(2, 1)], 2);
    played.ring.signalsOf(0).setSenderAwake(true);
    played.layOut(0, 5, true);
    played.run();
    expect(played.fds).toEqual([5]);
    expect(played.woken.map(({ sender }) => sender)).toEqual([1]);
  });

  test.each<[string, (played: Played) => void, (fd: number) => number]>([
    ['a part of one was written', (played) => played.layOut(0, 5), () => 9],
    ['one could not be written', (played) => played.layOut(0, 5), () => 0],
    ['one leads to others', (played) => played.layOut(0, 5, true), () => 10],
    ['it has more, and room for that', (played) => played.layOut(0, 5), () => 10],
  ])('wakes a sender whose request has left where %s', (title, layOut, takes) => {
    const played = new Played(tied(1), 1);
    played.pad.setMore(0, title.startsWith('it has more'));
    layOut(played);
    played.run(takes);
    expect(played.fds).toEqual([5]);
    expect(played.woken).toMatchObject([{ sender: 0, written: 1 }]);
  });

  test('tells a sender before it waits for the next instant, awake or asleep', () => {
    for (const gapNs of [10_000, 10 * MS]) {
      const played = new Played([...tied(1), { offsetNs: MS + gapNs, sender: 0 }], 1);
      played.layOut(0, 5, true);
      played.layOut(0, 6);
      played.run();
      expect(played.fds).toEqual([5, 6]);
      expect(played.woken).toMatchObject([{ sender: 0, written: 1 }]);
    }
  });

  test('leaves what is late by too much to its sender, and all that follows until that is sent', () => {
    const late = new Played([...tied(1), { offsetNs: MS + 1, sender: 1 }], 2);
    late.layOut(0, 5);
    late.layOut(1, 6);
    late.clock.pass(START_NS - 1_000 * MS + LAUNCH_LATE_NS + MS);
    late.run();
    expect(late.written).toEqual([]);
    expect(late.woken.map(({ sender }) => sender)).toEqual([0, 1]);
    expect([late.pad.endOf(0, 0), late.pad.endOf(1, 0)]).toEqual([{ kind: 'left' }, { kind: 'left' }]);

    const followed = new Played([...tied(1), { offsetNs: 20 * MS, sender: 0 }], 1);
    followed.layOut(0, 5);
    followed.layOut(0, 6);
    followed.clock.pass(START_NS - 1_000 * MS + LAUNCH_LATE_NS + 2 * MS);
    followed.run();
    expect(followed.written).toEqual([]);
    expect(followed.pad.endOf(0, 0)).toEqual({ kind: 'left' });
    expect(followed.pad.takeBack(0, 1)).toBe(true);
  });

  test('launches what is late by less', () => {
    const played = new Played(tied(1), 1);
    played.layOut(0, 5);
    played.clock.pass(START_NS - 1_000 * MS + LAUNCH_LATE_NS);
    played.run();
    expect(played.fds).toEqual([5]);
  });

  test('launches nothing more once it is stopped, not even what it waits for awake', () => {
    const played = new Played(tied(2), 1);
    played.layOut(0, 5);
    played.layOut(0, 6);
    let wasUp = false;
    played.clock.at(START_NS + MS - 5_000, () => {
      wasUp = played.pad.hasPassed(0, 0);
      played.ring.stop();
    });
    played.run();
    expect(wasUp).toBe(true);
    expect(played.written).toEqual([]);
    expect([played.pad.takeBack(0, 0), played.pad.takeBack(0, 1)]).toEqual([true, true]);
  });

  test('launches nothing at all where it was stopped before', () => {
    const played = new Played(tied(1), 1);
    played.layOut(0, 5);
    played.clock.pass(START_NS - 1_000 * MS + MS);
    played.ring.stop();
    expect(played.run().count).toBe(0);
    expect(played.written).toEqual([]);
  });
});
