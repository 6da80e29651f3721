import { describe, expect, it } from 'vitest';
import { PoissonInstants } from '../../../src/replay/plan/rate.ts';
import { scheduleOf } from '../../../src/replay/plan/schedule.ts';
import { arrivalsOf } from '../../support/arrivals.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { scalingAt } from '../../support/scalings.ts';

const RATE = { perSecond: 100, durationNs: 60e9 };

function allOf(instants: PoissonInstants): number[] {
  const next = instants.begin();
  return Array.from({ length: instants.count }, next);
}

describe('PoissonInstants', () => {
  it('are exactly as many as the rate makes, in order and in its time, and then none', () => {
    const instants = new PoissonInstants(RATE, 1);
    const all = allOf(instants);
    expect(instants.count).toBe(6_000);
    expect(all.every((ns, at) => Number.isInteger(ns) && ns >= (all[at - 1] ?? 0) && ns < 60e9)).toBe(true);
    const next = instants.begin();
    for (let at = 0; at < 6_000; at += 1) next();
    expect([next(), next()]).toEqual([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
  });

  it('have the gaps and the counts of a Poisson process: both vary as much as their mean', () => {
    const all = allOf(new PoissonInstants(RATE, 7));
    const gaps = all.slice(1).map((ns, at) => ns - (all[at] ?? 0));
    const [gap, deviation] = [meanOf(gaps), Math.sqrt(varianceOf(gaps))];
    expect(deviation / gap).toBeGreaterThan(0.95);
    expect(deviation / gap).toBeLessThan(1.05);
    const counts = new Array<number>(600).fill(0);
    for (const ns of all) counts[Math.floor(ns / 1e8)]! += 1;
    expect(varianceOf(counts) / meanOf(counts)).toBeGreaterThan(0.85);
    expect(varianceOf(counts) / meanOf(counts)).toBeLessThan(1.15);
  });

  it('are those of their seed', () => {
    expect(allOf(new PoissonInstants(RATE, 1))).toEqual(allOf(new PoissonInstants(RATE, 1)));
    expect(allOf(new PoissonInstants(RATE, 1))).not.toEqual(allOf(new PoissonInstants(RATE, 2)));
  });

  it('know the most that any second has', () => {
    const instants = new PoissonInstants(RATE, 3);
    const all = allOf(instants);
    const within = (from: number) => all.filter((ns) => ns >= from && ns - from < 1e9).length;
    expect(instants.peakPerSecond).toBe(Math.max(...all.map(within)));
  });

  it('are refused where there would be none, or too many', () => {
    expect(() => new PoissonInstants({ perSecond: 0.1, durationNs: 1e9 }, 1)).toThrow('--rate');
    expect(() => new PoissonInstants({ perSecond: 1e6, durationNs: 60e9 }, 1)).toThrow('--rate');
  });
});

describe('a schedule at a fixed rate', () => {
  it('takes the order of the recording and the instants of the rate; what cannot be sent takes none', () => {
    const rows = Array.from({ length: 9 }, (_, id) =>
      exchangeRow({ id, arrivalUs: 1e15 + id * 1e6, requestTruncated: id % 3 === 1 }),
    );
    const rate = { perSecond: 5, durationNs: 1e9 };
    const scaling = scalingAt(5, { scaling: 'rate', rate });
    const planned = [...scheduleOf(arrivalsOf(rows), scaling)];
    const sent = planned.filter(({ row }) => !row.requestTruncated);
    expect(planned.map(({ row }) => row.id)).toEqual(rows.map(({ id }) => id));
    const [first, ...others] = allOf(new PoissonInstants(rate, 1));
    expect(sent.map(({ intendedOffsetNs }) => intendedOffsetNs)).toEqual([
      first,
      ...others,
      Number.POSITIVE_INFINITY,
    ]);
  });

  it('plays no exchange twice for what the capture does not cover', () => {
    const rate = { perSecond: 5, durationNs: 1e9 };
    expect(scalingAt(5, { scaling: 'rate', rate }, { coverage: 0.5 }).alters).toBe(false);
  });
});

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, each) => sum + each, 0) / values.length;
}

function varianceOf(values: readonly number[]): number {
  const mean = meanOf(values);
  return values.reduce((sum, each) => sum + (each - mean) ** 2, 0) / values.length;
}
