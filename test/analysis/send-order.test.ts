import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SendOrder } from '../../src/analysis/send-order.ts';

function ordered(limit?: number): { order: SendOrder; released: number[] } {
  const released: number[] = [];
  return { order: new SendOrder((at) => released.push(at), limit), released };
}

describe('SendOrder', () => {
  test('releases the instants in the order of the schedule, whatever order the sends end in', () => {
    const sends = fc.array(fc.option(fc.nat(50), { freq: 4 }), { maxLength: 300 }).chain((gaps) =>
      fc.tuple(
        fc.constant(gaps),
        fc.shuffledSubarray(
          gaps.map((_, at) => at),
          { minLength: gaps.length },
        ),
      ),
    );
    fc.assert(
      fc.property(sends, ([gaps, endings]) => {
        let at = 0;
        const instants = gaps.map((gap) => {
          at += gap ?? 0;
          return gap === null ? null : at;
        });
        const { order, released } = ordered();
        for (const index of endings) order.add(index, instants[index] ?? null);
        expect(released).toEqual(instants.filter((instant) => instant !== null));
        expect([order.givenUp, order.disordered]).toEqual([0, 0]);
      }),
    );
  });

  test('holds back what follows an unfinished send, and releases it at the end', () => {
    const { order, released } = ordered();
    order.add(0, 10);
    order.add(2, 30);
    order.add(3, null);
    order.add(4, 50);
    expect(released).toEqual([10]);
    order.flush();
    expect(released).toEqual([10, 30, 50]);
    expect(order.givenUp).toBe(0);
  });

  test('gives up the oldest when too many wait for it, and counts it', () => {
    const { order, released } = ordered(4);
    for (let index = 1; index <= 5; index++) order.add(index, index * 10);
    expect(released).toEqual([10, 20, 30, 40, 50]);
    expect(order.givenUp).toBe(1);
    order.add(0, 5);
    expect(released).toEqual([10, 20, 30, 40, 50]);
    order.add(6, 60);
    expect(released.at(-1)).toBe(60);
  });

  test('survives a jump over more than the limit', () => {
    const { order, released } = ordered(4);
    order.add(0, 1);
    order.add(100, 2);
    order.flush();
    expect(released).toEqual([1, 2]);
    expect(order.givenUp).toBe(96);
  });

  test('never goes back in time: an overtaken send is counted and taken as simultaneous', () => {
    const { order, released } = ordered();
    order.add(0, 10);
    order.add(1, 7);
    expect(released).toEqual([10, 10]);
    expect(order.disordered).toBe(1);
  });
});
