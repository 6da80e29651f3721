import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LAUNCH_SLOTS } from '../../src/replay/launch-pad.ts';
import { type Due, Played, START_NS, tied } from '../support/played-pacer.ts';

const MS = 1_000_000;

describe('the pacer of sends that may share a wake', () => {
  test('launches each at its instant or late by so much at most, in order, once', () => {
    const gaps = fc.array(fc.nat(1_500_000), { minLength: 1, maxLength: LAUNCH_SLOTS });
    fc.assert(
      fc.property(gaps, fc.nat(MS), (gaps, coalesceNs) => {
        let offsetNs = 0;
        const dues = gaps.map((gapNs) => {
          offsetNs += gapNs;
          return { offsetNs, sender: 0 };
        });
        const played = new Played(dues, 1);
        played.coalesceNs = coalesceNs;
        for (const fd of dues.keys()) played.layOut(0, fd);
        played.run();
        expect(played.fds).toEqual([...dues.keys()]);
        for (const [index, { atNs }] of played.written.entries()) {
          const lateNs = atNs - START_NS - (dues[index] as Due).offsetNs;
          expect(lateNs).toBeGreaterThanOrEqual(0);
          // What it looks at on its way takes its time as well.
          expect(lateNs).toBeLessThanOrEqual(coalesceNs + 10 * dues.length * played.clock.tickNs);
        }
      }),
    );
  });

  test('wakes once for what comes due while it rests, and for what comes later at its instant', () => {
    const dues = [1_000, 1_100, 1_300, 1_430, 3_000].map((us) => ({ offsetNs: us * 1_000, sender: 0 }));
    const played = new Played(dues, 1);
    played.coalesceNs = MS / 2;
    for (const fd of dues.keys()) played.layOut(0, fd);
    played.run();
    const lateUs = played.written.map(({ atNs }, index) =>
      Math.round((atNs - START_NS - (dues[index] as Due).offsetNs) / 1_000),
    );
    // The wake for the first is 60 µs before it, and the next half a millisecond after that.
    expect(lateUs).toEqual([0, 340, 140, 10, 0].map((us) => expect.closeTo(us, -1.5)));
    expect(played.ring.slept).toHaveLength(3);
  });

  test.each([10_000, 30_000, 50_000])(
    'is up before what is due behind its rest, with wakes late by %d ns',
    (lateNs) => {
      const dues = [1, 2.5, 4, 9].map((ms) => ({ offsetNs: ms * MS, sender: 0 }));
      const played = new Played(dues, 1);
      played.ring.lateNs = lateNs;
      played.coalesceNs = MS;
      for (const fd of dues.keys()) played.layOut(0, fd);
      played.run();
      for (const [index, { atNs }] of played.written.entries())
        expect(atNs - START_NS - (dues[index] as Due).offsetNs).toBeLessThanOrEqual(2 * played.clock.tickNs);
      expect(played.written).toHaveLength(4);
    },
  );

  test('waits for nothing awake while it may be late, however near it is', () => {
    const dues = Array.from({ length: LAUNCH_SLOTS }, (_, nth) => ({
      offsetNs: MS + nth * 50_000,
      sender: 0,
    }));
    const played = new Played(dues, 1);
    // Wakes that are late by the greatest lead and more: each next instant is nearer than that.
    played.ring.lateNs = 70_000;
    played.coalesceNs = MS;
    for (const fd of dues.keys()) played.layOut(0, fd);
    played.run();
    expect(played.fds).toEqual([...dues.keys()]);
    expect(played.ring.slept).toHaveLength(3);
  });

  test('rests to the end where more is handed over meanwhile', () => {
    const played = new Played([...tied(1), { offsetNs: MS + 100_000, sender: 0 }], 1);
    played.coalesceNs = MS;
    played.layOut(0, 5);
    played.layOut(0, 6);
    played.clock.at(START_NS + MS + 200_000, () => played.ring.announce());
    played.run();
    expect((played.written[1]?.atNs ?? 0) - START_NS).toBeGreaterThan(1.9 * MS);
    expect(played.written[1]?.atNs ?? 0).toBeLessThan(START_NS + 2 * MS);
  });
});
