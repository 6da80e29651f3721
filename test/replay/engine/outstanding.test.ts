import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { notSentResult } from '../../../src/replay/engine/messages.ts';
import { Outstanding } from '../../../src/replay/engine/outstanding.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { repeated } from '../../support/long-form.ts';

const planned = (index: number) => ({
  index,
  intendedOffsetNs: index * 1_000,
  row: exchangeRow({
    id: 2 ** 40 + index,
    segment: `segment ${index % 3}`,
    route: index % 4 === 0 ? null : `route ${index % 5}`,
    model: index % 7 === 0 ? null : `model ${index % 2}`,
    requestBytes: index * 10,
  }),
  streams: index % 2 === 0,
  warmup: index % 3 === 0,
});

/** What a send must say of what it was planned from. */
function expected(index: number) {
  const { row, intendedOffsetNs, streams, warmup } = planned(index);
  const { id: exchangeId, segment, route, model, requestBytes } = row;
  return {
    index,
    intendedOffsetNs,
    exchangeId,
    segment,
    route,
    model,
    requestBytes,
    streamed: streams,
    warmup,
  };
}

/** Gaps are requests that were refused as they were planned; an end takes one of those that are open. */
const steps = fc.array(
  fc.oneof(
    fc.record({ plan: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ end: fc.nat() }),
    fc.record({ dueAt: fc.nat({ max: 200_000 }) }),
  ),
  { maxLength: 300 },
);

describe('planned requests without a result', () => {
  it('come back as they were planned, however many were planned after them and in whatever order they end', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const outstanding = new Outstanding();
        const open: number[] = [];
        let index = -1;
        for (const step of all) {
          if ('plan' in step) {
            index += step.plan;
            outstanding.add(planned(index));
            open.push(index);
          } else if ('end' in step) {
            const [ended] = open.length === 0 ? [] : open.splice(step.end % open.length, 1);
            if (ended === undefined) continue;
            const send = outstanding.take({
              ...notSentResult({ index: ended, intendedOffsetNs: ended * 1_000 }, 'refused'),
              streamed: null,
            });
            expect(send).toMatchObject({ ...expected(ended), refused: true });
          } else {
            expect(outstanding.dueAt(step.dueAt)).toBe(
              open.filter((one) => one * 1_000 <= step.dueAt).length,
            );
          }
        }
        const left = outstanding.takeUnreached();
        expect(left.map((send) => send.index)).toEqual(open);
        expect(left).toMatchObject(open.map((one) => ({ ...expected(one), error: 'stopped' })));
        expect(outstanding.takeUnreached()).toEqual([]);
        expect(outstanding.dueAt(Number.POSITIVE_INFINITY)).toBe(0);
      }),
      { numRuns: repeated(75, 300) },
    );
  });

  it('end once', () => {
    const outstanding = new Outstanding();
    for (const index of [0, 1, 2]) outstanding.add(planned(index));
    for (const index of [0, 2]) {
      outstanding.take(notSentResult({ index: index, intendedOffsetNs: 0 }, 'refused'));
      expect(() => outstanding.take(notSentResult({ index: index, intendedOffsetNs: 0 }, 'refused'))).toThrow(
        /ended twice or was never planned/,
      );
    }
    expect(() => outstanding.take(notSentResult({ index: 3, intendedOffsetNs: 0 }, 'refused'))).toThrow(
      /never planned/,
    );
  });
});
