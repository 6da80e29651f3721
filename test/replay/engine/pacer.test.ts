import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CatchUp, type DueTimes, Pacer } from '../../../src/replay/engine/pacer.ts';
import { offsetsOf } from '../../support/prepared.ts';

const MS = 1_000_000;

class ListedTimes implements DueTimes {
  readonly #times: number[];

  constructor(times: readonly number[]) {
    this.#times = [...times];
  }

  peekNs(): number | null {
    return this.#times[0] ?? null;
  }

  shift(): void {
    this.#times.shift();
  }

  add(...times: number[]): void {
    this.#times.push(...times);
  }
}

function pacerOf(times: readonly number[], catchUp: CatchUp | null = null): Pacer {
  return new Pacer(new ListedTimes(times), catchUp);
}

interface Taken {
  readonly dueNs: number;
  readonly takenNs: number;
}

/** Plays a pacer the way a thread does: asks, sleeps as told (and some jitter longer), asks again. */
function play(
  times: readonly number[],
  jitterNs: (nth: number) => number,
  catchUp: CatchUp | null,
  fromNs = 0,
): Taken[] {
  const pacer = pacerOf(times, catchUp);
  const taken: Taken[] = [];
  for (let nowNs = fromNs, asked = 0; ; asked++) {
    const { due, waitNs } = pacer.next(nowNs);
    for (let i = 0; i < due; i++) taken.push({ dueNs: times[taken.length] ?? Number.NaN, takenNs: nowNs });
    if (waitNs === Number.POSITIVE_INFINITY) return taken;
    nowNs += waitNs + jitterNs(asked);
  }
}

describe('the pacer', () => {
  test.each([
    ['before the first instant it waits for it', [500], 100, { due: 0, waitNs: 400 }],
    ['at the very instant it is due', [500], 500, { due: 1, waitNs: Number.POSITIVE_INFINITY }],
    ['one nanosecond early it is not', [500], 499, { due: 0, waitNs: 1 }],
    ['everything overdue is due at once', [1, 2, 3, 900], 10, { due: 3, waitNs: 890 }],
    ['ties are due together', [7, 7, 7, 8], 7, { due: 3, waitNs: 1 }],
    ['with nothing known there is nothing to wait for', [], 7, { due: 0, waitNs: Number.POSITIVE_INFINITY }],
  ])('%s', (_title, times, nowNs, expected) => {
    expect(pacerOf(times).next(nowNs)).toEqual(expected);
  });

  test('takes no more than its limit and says that there is more', () => {
    const pacer = pacerOf([1, 1, 1]);
    expect(pacer.next(5, 2)).toEqual({ due: 2, waitNs: 0 });
    expect(pacer.next(5, 2)).toEqual({ due: 1, waitNs: Number.POSITIVE_INFINITY });
  });

  test('looks without taking when the limit is 0', () => {
    const pacer = pacerOf([10]);
    expect(pacer.next(4, 0)).toEqual({ due: 0, waitNs: 6 });
    expect(pacer.next(12, 0)).toEqual({ due: 0, waitNs: 0 });
    expect(pacer.next(12)).toEqual({ due: 1, waitNs: Number.POSITIVE_INFINITY });
  });

  test('sleeps through ten minutes of silence in one wait, and is exact behind it', () => {
    const tenMinutesNs = 600e9;
    const pacer = pacerOf([0, tenMinutesNs]);
    expect(pacer.next(0)).toEqual({ due: 1, waitNs: tenMinutesNs });
    expect(pacer.next(tenMinutesNs - 1)).toEqual({ due: 0, waitNs: 1 });
    expect(pacer.next(tenMinutesNs).due).toBe(1);
  });

  test('takes up instants that become known later', () => {
    const times = new ListedTimes([]);
    const pacer = new Pacer(times, null);
    expect(pacer.next(0).waitNs).toBe(Number.POSITIVE_INFINITY);
    times.add(50);
    expect(pacer.next(20)).toEqual({ due: 0, waitNs: 30 });
  });

  test('never takes an instant early, keeps their order, takes each once and never adds up lateness', () => {
    const gaps = fc.array(fc.oneof(fc.constant(0), fc.nat(5 * MS), fc.nat(600_000 * MS)), { maxLength: 200 });
    fc.assert(
      fc.property(gaps, fc.array(fc.nat(MS), { minLength: 1, maxLength: 20 }), (gapsNs, jittersNs) => {
        const times = offsetsOf(gapsNs);
        const taken = play(times, (nth) => jittersNs[nth % jittersNs.length] ?? 0, null);
        expect(taken.map(({ dueNs }) => dueNs)).toEqual(times);
        // At most one jitter late each, however many came before: deadlines are absolute.
        for (const { dueNs, takenNs } of taken) {
          expect(takenNs).toBeGreaterThanOrEqual(dueNs);
          expect(takenNs).toBeLessThanOrEqual(dueNs + Math.max(...jittersNs));
        }
      }),
    );
  });
});

describe('the pacer after a stall', () => {
  const catchUp: CatchUp = { fromLagNs: 50 * MS, gapNs: MS, slackNs: MS };

  test('sends at once what is less late than a stall', () => {
    expect(pacerOf([0, 1, 2], catchUp).next(49 * MS)).toEqual({
      due: 3,
      waitNs: Number.POSITIVE_INFINITY,
    });
  });

  test('spreads overdue instants out at the peak rate', () => {
    const times = Array.from({ length: 10 }, (_, i) => i * 2 * MS);
    const taken = play(times, () => 0, catchUp, 100 * MS);
    // Planned 2 ms apart, the peak allows 1 ms: nobody ever saw them closer.
    expect(taken.map(({ takenNs }) => takenNs / MS)).toEqual([
      100, 101, 102, 103, 104, 105, 106, 107, 108, 109,
    ]);
  });

  test('keeps ties together', () => {
    const taken = play([0, 0, 0, 5 * MS], () => 0, catchUp, 100 * MS);
    expect(taken.map(({ takenNs }) => takenNs / MS)).toEqual([100, 100, 100, 101]);
  });

  test('works off a stall also where the plan is at its peak all the time', () => {
    const times = Array.from({ length: 1_000 }, (_, i) => i * MS);
    const taken = play(times, () => 0, catchUp, 100 * MS);
    const lagsMs = taken.map(({ dueNs, takenNs }) => (takenNs - dueNs) / MS);
    expect(lagsMs[0]).toBe(100);
    expect(lagsMs[250]).toBeCloseTo(50, 0);
    expect(lagsMs.slice(510).every((lagMs) => lagMs === 0)).toBe(true);
  });

  test('says that it is catching up until it has', () => {
    const pacer = pacerOf([0, 99 * MS, 200 * MS], catchUp);
    pacer.next(100 * MS, 1);
    expect(pacer.catchingUp).toBe(true);
    pacer.next(101 * MS, 1);
    pacer.next(102 * MS, 1);
    expect(pacer.catchingUp).toBe(false);
  });

  test('never re-anchors: once caught up, instants are where they were planned', () => {
    const times = Array.from({ length: 400 }, (_, i) => i * 2 * MS);
    const taken = play(times, () => 0, catchUp, 300 * MS);
    const onTime = taken.filter(({ dueNs }) => dueNs > 600 * MS);
    expect(onTime.length).toBeGreaterThan(90);
    expect(onTime.every(({ dueNs, takenNs }) => dueNs === takenNs)).toBe(true);
  });

  test('drops nothing, keeps order, and is never tighter than the peak or the plan beyond its slack', () => {
    const gaps = fc.array(fc.oneof(fc.constant(0), fc.nat(3 * MS)), { minLength: 1, maxLength: 150 });
    const jitters = fc.array(fc.nat(MS / 2), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(gaps, jitters, fc.integer({ min: 60, max: 2_000 }), (gapsNs, jittersNs, stallMs) => {
        const times = offsetsOf(gapsNs);
        const taken = play(times, (nth) => jittersNs[nth % jittersNs.length] ?? 0, catchUp, stallMs * MS);
        expect(taken.map(({ dueNs }) => dueNs)).toEqual(times);
        for (let from = 0; from < taken.length; from++) {
          let leastNs = 0;
          for (let to = from + 1; to < taken.length; to++) {
            const [previous, next] = [taken[to - 1], taken[to]] as [Taken, Taken];
            leastNs += Math.min(0.8 * (next.dueNs - previous.dueNs), catchUp.gapNs);
            // Beyond the stalled stretch the plan alone decides.
            if (next.takenNs - next.dueNs < MS) break;
            const spanNs = next.takenNs - (taken[from]?.takenNs ?? 0);
            expect(spanNs).toBeGreaterThanOrEqual(leastNs - catchUp.slackNs - catchUp.gapNs);
          }
        }
      }),
    );
  });
});
