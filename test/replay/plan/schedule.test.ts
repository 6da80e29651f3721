import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import { RateCeiling } from '../../../src/replay/guard.ts';
import { scheduleOf } from '../../../src/replay/plan/schedule.ts';
import { skipReasonOf } from '../../../src/replay/window/capture.ts';
import { arrivalsOf } from '../../support/arrivals.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { scalingAt } from '../../support/scalings.ts';

const EPOCH_US = 1_794_000_000_000_000;

function rowsAt(offsetsUs: readonly number[]): ExchangeRow[] {
  return offsetsUs.map((offsetUs, id) => exchangeRow({ id, arrivalUs: EPOCH_US + offsetUs }));
}

describe('scheduleOf', () => {
  it('begins with the first arrival, keeps count, order and ties, and spans the recording divided by m', () => {
    const gaps = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 10_000_000 })), {
      maxLength: 100,
    });
    fc.assert(
      fc.property(gaps, fc.constantFrom(0.1, 0.5, 1, 1.5, 2, 3.7), (all, multiplier) => {
        let at = 777;
        const rows = rowsAt([at, ...all.map((gap) => (at += gap))]);
        const planned = [...scheduleOf(arrivalsOf(rows), scalingAt(multiplier))];
        expect(planned.map(({ row }) => row.id)).toEqual(rows.map(({ id }) => id));
        expect(planned[0]?.intendedOffsetNs).toBe(0);
        const spanUs = at - 777;
        expect(planned.at(-1)?.intendedOffsetNs).toBe(Math.round((spanUs * 1000) / multiplier));
        for (let index = 1; index < planned.length; index++) {
          const gapNs = planned[index]!.intendedOffsetNs - planned[index - 1]!.intendedOffsetNs;
          expect(gapNs).toBeGreaterThanOrEqual(0);
          if (all[index - 1] === 0) expect(gapNs).toBe(0);
        }
      }),
    );
  });

  it('is pulled one by one: nothing is read before it is asked for', () => {
    let read = 0;
    function* endless(): Generator<ExchangeRow> {
      for (;;) yield exchangeRow({ id: read++, arrivalUs: EPOCH_US + read });
    }
    const schedule = scheduleOf(arrivalsOf(endless()), scalingAt(2));
    expect(schedule.next().value?.row.id).toBe(0);
    expect(schedule.next().value?.row.id).toBe(1);
    expect(read).toBe(2);
  });

  it('plans nothing for a window without arrivals', () => {
    expect([...scheduleOf(arrivalsOf([]), scalingAt(1))]).toEqual([]);
  });
});

describe('skipReasonOf', () => {
  it.each([
    ['a completed exchange', {}, null],
    ['an error status', { status: 500 }, null],
    [
      'a whole request whose client left',
      { outcome: 'client_aborted' as const, requestEndOffsetUs: 900 },
      null,
    ],
    ['a request its client left within', { outcome: 'client_aborted' as const }, 'incomplete_request'],
    ['a request its upstream cut', { outcome: 'upstream_failed' as const }, 'incomplete_request'],
    ['a truncated request', { requestTruncated: true, requestStored: false }, 'truncated_request'],
    ['an arrival without payload', { requestStored: false }, 'no_payload'],
    [
      'an imported failure, whose request end nobody knew',
      { outcome: 'upstream_failed' as const, protocol: null },
      null,
    ],
  ])('of %s', (_, facts, reason) => {
    const requestEndOffsetUs = 'outcome' in facts ? null : 100;
    expect(skipReasonOf(exchangeRow({ requestEndOffsetUs, ...facts }))).toBe(reason);
  });
});

describe('RateCeiling', () => {
  it('admits so many planned sends in each second of the run and refuses the rest of it', () => {
    const ceiling = new RateCeiling(2);
    const offsetsS = [0, 0.1, 0.9, 1, 1, 1, 5.5];
    expect(offsetsS.map((second) => ceiling.admits(second * 1e9))).toEqual([
      true,
      true,
      false,
      true,
      true,
      false,
      true,
    ]);
  });
});
