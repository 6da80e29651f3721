import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DueRing } from '../../../src/replay/engine/shared-memory.ts';

describe('the ring between the main thread and the pacer', () => {
  test('hands over due times in order, across its end, whatever the rhythm of both sides', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 300 }), (pushes) => {
        const main = DueRing.create(4);
        const pacer = new DueRing(main.memory);
        const waiting: number[] = [];
        pushes.forEach((push, at) => {
          expect(main.free).toBe(4 - waiting.length);
          if (push && main.free > 0) {
            main.push(at);
            waiting.push(at);
          } else if (waiting.length > 0) {
            expect(pacer.peekNs()).toBe(waiting.shift());
            pacer.shift();
          }
          expect(pacer.peekNs()).toBe(waiting[0] ?? null);
        });
      }),
    );
  });

  test('holds at least what was asked for', () => {
    expect([1, 2, 3, 4_096, 4_097].map((requests) => DueRing.create(requests).free)).toEqual([
      2, 2, 4, 4_096, 8_192,
    ]);
  });

  test('ends when finished and emptied, or at once when stopped', () => {
    const ring = DueRing.create(4);
    ring.push(5);
    ring.finish();
    expect(ring.ended).toBe(false);
    ring.shift();
    expect(ring.ended).toBe(true);

    const stopped = DueRing.create(4);
    stopped.push(5);
    stopped.stop();
    expect(stopped.ended).toBe(true);
  });

  test('does not sleep on a change that has already happened', () => {
    const ring = DueRing.create(4);
    const changes = ring.changes();
    ring.announce();
    ring.sleep(changes, Number.POSITIVE_INFINITY);
    expect(ring.changes()).not.toBe(changes);
  });

  test('tells how many requests still wait at the sender, over the wrap of its counter too', () => {
    const ring = DueRing.create(4);
    ring.signalsOf(0).setDispatched(2 ** 32 - 1);
    expect(ring.waitingAt(0, 2 ** 32 + 2)).toBe(3);
  });
});
