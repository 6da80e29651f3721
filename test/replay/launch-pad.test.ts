import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LAUNCH_SLOTS, LaunchPad } from '../../src/replay/launch-pad.ts';
import { type Kind, LaunchSides, type SenderStep } from '../support/launch-sides.ts';
import { preempted } from '../support/preempted.ts';

const REQUESTS = 30;
/** Of the first request: the numbers wrap among them in two places, and slots are used again in any. */
const BASES = [0, -3, -17, 2 ** 31 - 9, 2 ** 31 - 20, 5];

const senderStep = fc.oneof(
  { weight: 9, arbitrary: fc.constant<SenderStep>('layOut') },
  { weight: 3, arbitrary: fc.constantFrom<SenderStep>('settle', 'send') },
  { weight: 1, arbitrary: fc.constant<SenderStep>('withdraw') },
);
const kind = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Kind>('launched') },
  { weight: 2, arbitrary: fc.constantFrom<Kind>('too_many', 'too_heavy', 'failed', 'left') },
);
/** A step of one side, in the middle of which the other may do some. */
const step = fc.record({
  by: fc.constantFrom('sender', 'pacer'),
  senderStep,
  kind,
  preemptedAt: fc.nat(6),
  meanwhile: fc.array(fc.record({ senderStep, kind }), { maxLength: 14 }),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

function play(sides: LaunchSides, { by, senderStep: own, kind: end, preemptedAt, meanwhile }: Step): void {
  const step = (): void => (by === 'sender' ? sides.senderSteps(own) : sides.pacerSteps(end));
  preempted(step, preemptedAt, () => {
    // All slots may be used again meanwhile; the pacer does not get so far.
    if (by === 'pacer') for (const other of meanwhile) sides.senderSteps(other.senderStep);
    else for (const other of meanwhile.slice(0, 3)) sides.pacerSteps(other.kind);
  });
}

describe('a launch pad', () => {
  test('has each request launched or taken back, once and in its turn, with what was laid out', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...BASES),
        fc.nat(1),
        fc.array(step, { minLength: 40, maxLength: 160 }),
        (base, sender, steps) => {
          const sides = new LaunchSides(REQUESTS, base, sender);
          for (const each of steps) play(sides, each);
          // Whatever is left to be done then, both sides come to it.
          for (let rounds = 0; !sides.over; rounds += 1) {
            expect(rounds, 'one was left to nobody').toBeLessThan(10 * REQUESTS);
            sides.pacerSteps('launched');
            sides.senderSteps('settle');
            sides.senderSteps('send');
          }
          expect(sides.gone.map(({ request }) => request)).toEqual([...Array(REQUESTS).keys()]);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('is used by both sides in what the property plays', () => {
    const gone = fc
      .sample(fc.array(step, { minLength: 40, maxLength: 160 }), { numRuns: 100, seed: 1 })
      .flatMap((steps) => {
        const sides = new LaunchSides(REQUESTS, 0, 0);
        for (const each of steps) play(sides, each);
        return sides.gone;
      });
    const byPacer = gone.filter(({ by }) => by === 'pacer').length;
    expect(byPacer).toBeGreaterThan(gone.length / 5);
    expect(gone.length - byPacer).toBeGreaterThan(gone.length / 5);
  });

  test('gives a request that is laid out while its instant passes by to one of the two', () => {
    const plan = { fd: 3, inode: 30, bytes: 1, bodyBytes: 0, tells: false };
    // The pacer comes at any moment of it, and passes by for good.
    for (let at = 0; at < 4; at += 1) {
      const pad = LaunchPad.create(1);
      let isReady = false;
      const isLaidOut = preempted(
        () => pad.layOut(0, 0, plan),
        at,
        () => {
          pad.pass(0, 0);
          isReady = pad.isReady(0, 0);
        },
      );
      // As long as the pacer has not claimed it, whoever saw it ready may still find it taken back.
      expect(isLaidOut ? isReady || !pad.hasPassed(0, 0) : pad.claim(0, 0) === null).toBe(true);
    }
  });

  test('launches nothing in the place of what it meant though the slot was used again while it looked', () => {
    const plan = { fd: 3, inode: 30, bytes: 1, bodyBytes: 0, tells: false };
    const later = { fd: 4, inode: 40, bytes: 2, bodyBytes: 0, tells: true };
    for (let at = 0; at < 4; at += 1) {
      const pad = LaunchPad.create(1);
      pad.layOut(0, 0, plan);
      pad.pass(0, 0);
      let wasTakenBack = false;
      const claimed = preempted(
        () => pad.claim(0, 0),
        at,
        () => {
          wasTakenBack = pad.takeBack(0, 0);
          if (wasTakenBack) pad.layOut(0, LAUNCH_SLOTS, later);
        },
      );
      expect(claimed).toEqual(wasTakenBack ? null : plan);
      if (wasTakenBack) expect(pad.claim(0, LAUNCH_SLOTS)).toEqual(later);
    }
  });

  test('keeps the slots and words of its senders apart', () => {
    const pad = LaunchPad.create(3);
    const orders = [...Array(LAUNCH_SLOTS).keys()];
    for (let sender = 0; sender < 3; sender += 1) {
      pad.setMore(sender, sender === 1);
      for (const order of orders) {
        pad.bytesOf(sender, order).fill(sender * LAUNCH_SLOTS + order + 1);
        pad.layOut(sender, order, { fd: sender, inode: order, bytes: order, bodyBytes: 0, tells: false });
      }
    }
    pad.pass(1, 4);
    expect([0, 1, 2].map((sender) => pad.hasMore(sender))).toEqual([false, true, false]);
    expect([0, 1, 2].map((sender) => pad.hasPassed(sender, 4))).toEqual([false, true, false]);
    for (let sender = 0; sender < 3; sender += 1) {
      for (const order of orders) {
        expect(pad.claim(sender, order)).toMatchObject({ fd: sender, inode: order, bytes: order });
        const bytes = pad.bytesOf(sender, order);
        expect([bytes[0], bytes.at(-1)]).toEqual(Array(2).fill(sender * LAUNCH_SLOTS + order + 1));
      }
    }
  });
});
