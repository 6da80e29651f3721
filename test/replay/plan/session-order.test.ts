import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import { SessionChains } from '../../../src/replay/plan/session-order.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { repeated } from '../../support/long-form.ts';

const MINUTE_US = 60_000_000;

function rowOf(id: number, arrivalMs: number, facts: Partial<ExchangeRow> = {}): ExchangeRow {
  const session = Buffer.from('session1', 'latin1');
  return exchangeRow({ id, arrivalUs: arrivalMs * 1e3, lastByteOffsetUs: 100_000, session, ...facts });
}

/** What each of these follows, at a pace. */
function followed(rows: readonly ExchangeRow[], pace = 1, copy = 0, chains = new SessionChains()) {
  const follows = rows.map((row, index) =>
    chains.follow(
      { row, intendedOffsetNs: (row.arrivalUs * 1e3) / pace, copy, layer: 0, kept: true },
      index,
      (row.arrivalUs * 1e3) / pace,
    ),
  );
  return { follows, counts: chains.counts() };
}

describe('a session', () => {
  it('begins at its planned instant and goes on with the recorded think time, which passes at the pace', () => {
    const rows = [rowOf(0, 0), rowOf(1, 400), rowOf(2, 450, { session: null }), rowOf(3, 1_000)];
    expect(followed(rows).follows).toEqual([
      null,
      { after: 0, from: 'end', delayNs: 300e6 },
      undefined,
      { after: 1, from: 'end', delayNs: 500e6 },
    ]);
    expect(followed(rows, 2).follows[1]).toEqual({ after: 0, from: 'end', delayNs: 150e6 });
    expect(followed(rows).counts).toMatchObject({ sessions: 1, followUps: 2, overlapped: 0, unknownEnds: 0 });
  });

  it('keeps the distance of requests that overlapped, or whose end is not known', () => {
    const rows = [rowOf(0, 0), rowOf(1, 60, { lastByteOffsetUs: null }), rowOf(2, 200), rowOf(3, 300)];
    const { follows, counts } = followed(rows);
    expect(follows).toEqual([
      null,
      { after: 0, from: 'send', delayNs: 60e6 },
      { after: 1, from: 'send', delayNs: 140e6 },
      { after: 2, from: 'end', delayNs: 0 },
    ]);
    expect(counts).toMatchObject({ followUps: 3, overlapped: 1, unknownEnds: 1 });
  });

  it('is one of its own for each copy, and begins anew after a silence, or where its window is repeated', () => {
    const chains = new SessionChains();
    const rows = [rowOf(0, 0), rowOf(1, 500)];
    followed(rows, 1, 0, chains);
    expect(followed(rows, 1, 1, chains).follows[0]).toBeNull();
    const silent = rowOf(2, 500 + (31 * MINUTE_US) / 1e3);
    expect(followed([silent], 1, 0, chains).follows).toEqual([null]);
    const looped = followed([rowOf(0, 0), rowOf(1, 500), rowOf(0, 1_000), rowOf(1, 1_500)]);
    expect(looped.follows.map((each) => each?.after ?? null)).toEqual([null, 0, null, 2]);
  });

  it('never thinks for less than nothing, nor longer than its requests lay apart', () => {
    const turns = fc.array(fc.record({ gapUs: fc.nat({ max: 500_000 }), tookUs: fc.nat({ max: 500_000 }) }), {
      minLength: 2,
      maxLength: 12,
    });
    fc.assert(
      fc.property(turns, fc.constantFrom(0.5, 1, 1.5, 3.7), (all, pace) => {
        let atUs = 0;
        const rows = all.map(({ gapUs, tookUs }, id) => {
          atUs += gapUs;
          return rowOf(id, atUs / 1e3, { lastByteOffsetUs: tookUs });
        });
        const { follows } = followed(rows, pace);
        for (const [at, follow] of follows.entries()) {
          if (follow == null) continue;
          const gapNs = ((all[at]?.gapUs ?? 0) * 1e3) / pace;
          expect(follow.after).toBe(at - 1);
          expect(follow.delayNs).toBeGreaterThanOrEqual(0);
          expect(follow.delayNs).toBeLessThanOrEqual(gapNs + 1);
        }
      }),
      { numRuns: repeated(15, 50) },
    );
  });
});
