import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FidelityStatistics, InstantOrder } from '../../../src/analysis/run/fidelity.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { send } from '../../support/sends.ts';

describe('instants in any order', () => {
  test('come out in order, and all of them', () => {
    fc.assert(
      fc.property(fc.array(fc.nat()), (instants) => {
        const released: number[] = [];
        const order = new InstantOrder((instant) => released.push(instant));
        for (const instant of instants) order.add(instant);
        order.flush();
        expect(released).toEqual([...instants].sort((a, b) => a - b));
        expect(order.disordered).toBe(0);
      }),
    );
  });

  test('past the bound the earlier half goes, and what is earlier still counts as one with the last', () => {
    const released: number[] = [];
    const order = new InstantOrder((instant) => released.push(instant), 4);
    for (const instant of [40, 10, 30, 20]) order.add(instant);
    expect(released).toEqual([10, 20]);
    order.add(5);
    order.flush();
    expect(released).toEqual([10, 20, 20, 30, 40]);
    expect(order.disordered).toBe(1);
  });

  test('sends of a partly open replay are held against the instants that came due, not against the plan', () => {
    const statistics = new FidelityStatistics('sessions');
    const plannedMs = [0, 10, 20, 30];
    const dueMs = [0, 500, 20, 200];
    for (const at of plannedMs) statistics.addPlanned(exchangeRow(), at * 1e6);
    for (const index of [1, 3, 0, 2]) {
      const intendedOffsetNs = (dueMs[index] ?? 0) * 1e6;
      statistics.addSend(send({ index, intendedOffsetNs }));
    }
    statistics.finish();
    const { planned, resolved, dueInTime, sent, ksGaps, unordered } = statistics.figures();
    expect([planned.count, resolved?.count, sent.count, dueInTime]).toEqual([4, 4, 4, 2]);
    expect(resolved).toEqual(sent);
    expect(planned.ratePerSecond).toBeGreaterThan(10 * (sent.ratePerSecond ?? 0));
    expect([ksGaps, unordered]).toEqual([0, 0]);
  });

  test('what a slow target lacked in a peak is not made up for by what it gets in the quiet hour after it', () => {
    const statistics = new FidelityStatistics('values');
    // 1,000 requests in ten seconds, then 600 in an hour.
    const plannedNs = Array.from({ length: 1_600 }, (_, at) =>
      at < 1_000 ? at * 1e7 : 1e10 + (at - 1_000) * 6e9,
    );
    for (const at of plannedNs) statistics.addPlanned(exchangeRow(), at);
    for (const [index, at] of plannedNs.entries())
      statistics.addSend(send({ index, intendedOffsetNs: index % 2 === 0 && at < 1e10 ? at + 6e11 : at }));
    statistics.finish();
    expect(statistics.figures().dueInTime).toBe(1_100);
  });
});
