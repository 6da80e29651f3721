import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import { drawLots, LOTS } from '../../../src/replay/plan/draws.ts';
import type { Scaling } from '../../../src/replay/plan/scaling.ts';
import { Stripe, scheduleOf } from '../../../src/replay/plan/schedule.ts';
import { parseStages } from '../../../src/replay/plan/stages.ts';
import { layeredArrivals } from '../../../src/replay/plan/superpose.ts';
import { thinned, type Weighing } from '../../../src/replay/plan/thinning.ts';
import { skipReasonOf } from '../../../src/replay/window/capture.ts';
import { arrivalsOf } from '../../support/arrivals.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { repeated } from '../../support/long-form.ts';
import { MemoryCapture } from '../../support/memory-capture.ts';
import { scalingAt } from '../../support/scalings.ts';

function sessionOf(number: number): Uint8Array {
  const session = Buffer.alloc(8);
  session.writeUInt32LE(Math.imul(number + 1, 0x9e3779b1) >>> 0, 0);
  session.writeUInt32LE(number, 4);
  return session;
}

/** Sessions of these sizes, each beginning 10 ms after the one before it, with a request every 50 ms. */
function rowsOf(sizes: readonly number[]): ExchangeRow[] {
  return sizes
    .flatMap((size, session) =>
      Array.from({ length: size }, (_, at) => ({ session, arrivalUs: session * 10_000 + at * 50_000 })),
    )
    .sort((a, b) => a.arrivalUs - b.arrivalUs)
    .map(({ session, arrivalUs }, id) => exchangeRow({ id, arrivalUs, session: sessionOf(session) }));
}

/** Half of all sessions have one request; the largest of them has one in twenty of all. */
const HEAVY_TAILED = Array.from({ length: 400 }, (_, at) => {
  const rank = ((at * 241) % 400) + 0.5;
  return Math.min(90, Math.floor((rank / 400) ** -0.85));
});
const TOTAL = HEAVY_TAILED.reduce((sum, size) => sum + size, 0);
const heavyTailed = rowsOf(HEAVY_TAILED);

function weighing(rows: readonly ExchangeRow[], parts: Partial<Weighing> = {}): Weighing {
  const counts = (row: ExchangeRow) => skipReasonOf(row) === null;
  return { arrivals: () => arrivalsOf(rows), counts, durationNs: null, maxRequests: null, ...parts };
}

/** What a schedule plans, of which shards hold each a part. */
function plannedBy(rows: readonly ExchangeRow[], scaling: Scaling, shards = 1): number[] {
  const parts = Array.from({ length: shards }, (_, index) => ({
    stripe: new Stripe(shards === 1 ? null : { index, count: shards }, scaling.draws),
    planned: 0,
  }));
  for (const send of scheduleOf(arrivalsOf(rows), scaling)) {
    for (const part of parts) if (part.stripe.holds(send) && send.kept) part.planned += 1;
  }
  return parts.map(({ planned }) => planned);
}

const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
const SEEDS = Array.from({ length: repeated(15, 100) }, (_, seed) => seed);

describe.each([
  ['thin', 0.3, {}],
  ['thin', 0.05, {}],
  ['amplify', 1.3, {}],
  ['amplify', 2.5, { targetShare: 0.4 }],
  ['compress', 1, { coverage: 0.83 }],
  ['compress', 2, { targetShare: 0.1 }],
] as const)('draws of heavy-tailed sessions by %s at %d (%j)', (scaling, multiplier, parts) => {
  it('come to within 2 % of what was asked at each seed, the same over shards', () => {
    const { coverage = 1, targetShare = 1 } = parts as { coverage?: number; targetShare?: number };
    const asked = (TOTAL * targetShare * (scaling === 'compress' ? 1 : multiplier)) / coverage;
    for (const seed of SEEDS) {
      const make = () =>
        thinned(
          scalingAt(multiplier, { scaling, seed, targetShare, jitterMs: 500 }, { coverage }),
          weighing(heavyTailed),
        );
      const drawn = make();
      const [planned = 0] = plannedBy(heavyTailed, drawn);
      expect(Math.abs(planned / asked - 1)).toBeLessThanOrEqual(0.02);
      expect(drawn.drawn.weighed).toMatchObject({ asked: expect.closeTo(asked, 3), planned });
      // Each shard weighs the plan by itself.
      if (seed % 20 === 0) expect(sum(plannedBy(heavyTailed, make(), 3))).toBe(planned);
    }
  });
});

it('draws leave no size of sessions out: over the seeds each is played as often as was asked', () => {
  const asked = 0.3;
  const played = new Map<number, number>();
  for (const seed of SEEDS) {
    const scaling = thinned(scalingAt(asked, { scaling: 'thin', seed }), weighing(heavyTailed));
    for (const [at, size] of HEAVY_TAILED.entries()) {
      const times = scaling.timesOf({
        row: exchangeRow({ session: sessionOf(at) }),
        offsetUs: at * 10_000,
      });
      const sizeClass = Math.floor(Math.log2(size));
      played.set(sizeClass, (played.get(sizeClass) ?? 0) + times);
    }
  }
  const sessions = Map.groupBy(HEAVY_TAILED, (size) => Math.floor(Math.log2(size)));
  for (const [sizeClass, times] of played) {
    const drawn = sessions.get(sizeClass)?.length ?? 0;
    // Four standard deviations: of the draws of a class, and of what the others are to make up for at a seed.
    const allowed = 4 * Math.sqrt((asked * (1 - asked)) / (drawn * SEEDS.length) + 0.025 ** 2 / SEEDS.length);
    expect(Math.abs(times / (drawn * SEEDS.length) - asked)).toBeLessThanOrEqual(allowed);
  }
});

describe('draws', () => {
  it('are off by no more than half of the largest session, whatever the sizes are', () => {
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 120 })), {
      minLength: 1,
      maxLength: 30,
    });
    const asked = fc.record({
      multiplier: fc.constantFrom(0.05, 0.3, 0.5, 0.9, 1.1, 1.5, 2.7),
      seed: fc.maxSafeNat(),
      targetShare: fc.constantFrom(0.1, 1),
    });
    fc.assert(
      fc.property(sizes, asked, (each, { multiplier, ...options }) => {
        const rows = rowsOf(each);
        const scaling = multiplier < 1 ? 'thin' : 'amplify';
        const drawn = thinned(scalingAt(multiplier, { scaling, ...options }), weighing(rows));
        const [planned = 0] = plannedBy(rows, drawn);
        const wanted = rows.length * multiplier * options.targetShare;
        // A copy of what is left out or kept may be several times a session.
        const largest = Math.max(...each) * (options.targetShare < 1 ? Math.ceil(multiplier) : 1);
        expect(Math.abs(planned - wanted)).toBeLessThanOrEqual(largest / 2 + 1e-6);
        expect(drawn.drawn.weighed?.planned).toBeCloseTo(planned, 6);
      }),
      { numRuns: repeated(15, 150) },
    );
  });

  it('of any lots come to what is asked, or to half of the largest lot', () => {
    const lots = fc.array(fc.tuple(fc.nat(LOTS - 1), fc.integer({ min: 1, max: 1_000 })), {
      minLength: 1,
      maxLength: 200,
    });
    fc.assert(
      fc.property(lots, fc.double({ min: 0, max: 1, noNaN: true }), (drawn, share) => {
        const weights = new Float64Array(LOTS);
        for (const [lot, weight] of drawn) weights[lot] = weight;
        const asked = share * sum([...weights]);
        const picked = drawLots(weights, asked);
        const planned = weights.reduce((total, weight, lot) => total + weight * (picked[lot] ?? 0), 0);
        expect(Math.abs(planned - asked)).toBeLessThanOrEqual(Math.max(...weights) / 2 + 1e-6);
      }),
      { numRuns: repeated(8, 50) },
    );
  });

  it('weigh what is planned and no more: requests that are there, up to the end of the plan', () => {
    const rows = heavyTailed.map((row, at) => (at % 4 === 0 ? { ...row, requestStored: false } : row));
    const thin = () => scalingAt(0.3, { scaling: 'thin' });
    const there = rows.filter((row) => skipReasonOf(row) === null);
    expect(thinned(thin(), weighing(rows)).drawn.weighed?.asked).toBeCloseTo(there.length * 0.3, 3);
    const early = there.filter(({ arrivalUs }) => arrivalUs < 5e6);
    const cut = thinned(thin(), weighing(rows, { durationNs: 5e9 })).drawn.weighed;
    expect(cut?.asked).toBeCloseTo(early.length * 0.3, 3);
    expect(thinned(thin(), weighing(rows, { maxRequests: 30 })).drawn.weighed?.asked).toBeCloseTo(30, 0);
  });

  it('under stages come to what the stages ask of the sessions that begin in them', () => {
    for (const seed of SEEDS.slice(0, 10)) {
      const make = () =>
        scalingAt(1, { scaling: 'amplify', seed, stages: parseStages('5s@1.3x,5s@1.3x..2.7x,60s@2.5x') });
      const scaling = thinned(make(), weighing(heavyTailed));
      const { asked = 0 } = scaling.drawn.weighed ?? {};
      const begun = new Map<string, number>();
      const wanted = heavyTailed.reduce((total, { session, arrivalUs }) => {
        const name = Buffer.from(session ?? []).toString('hex');
        if (!begun.has(name)) begun.set(name, make().curve.multiplierAt(arrivalUs * 1e3));
        return total + (begun.get(name) ?? 0);
      }, 0);
      expect(asked / wanted).toBeCloseTo(1, 2);
      const [planned = 0] = plannedBy(heavyTailed, thinned(make(), weighing(heavyTailed)));
      expect(Math.abs(planned / asked - 1)).toBeLessThanOrEqual(0.02);
    }
  });

  it('of a stretch that is laid over the window come to the multiplier with it', () => {
    const range = { fromUs: 0, toUs: 4e6 };
    const source = new MemoryCapture([...heavyTailed], () => null);
    const count = ({ fromUs, toUs }: typeof range) =>
      heavyTailed.filter(({ arrivalUs }) => arrivalUs >= fromUs && arrivalUs < toUs).length;
    const own = count(range);
    const other = count({ fromUs: 4e6, toUs: 8e6 });
    const layers = [
      { shiftUs: 0, before: 0, exchanges: own },
      { shiftUs: 4e6, before: own, exchanges: other },
    ];
    const asked = own + other / 2;
    for (const seed of SEEDS.slice(0, 20)) {
      const arrivals = () => layeredArrivals(source, range, layers);
      const superposed = scalingAt(asked / own, { scaling: 'superpose', seed }, { layers });
      const scaling = thinned(superposed, { ...weighing([]), arrivals });
      const planned = [...scheduleOf(arrivals(), scaling)].filter(({ kept }) => kept).length;
      expect(Math.abs(planned / asked - 1)).toBeLessThanOrEqual(0.02);
    }
  });

  it('read nothing where every session is played equally often', () => {
    const unread = { ...weighing(heavyTailed), arrivals: () => expect.unreachable() };
    for (const multiplier of [0.5, 1, 2]) expect(thinned(scalingAt(multiplier), unread)).toBeDefined();
  });
});
