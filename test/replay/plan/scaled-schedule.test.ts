import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import type { Scaling } from '../../../src/replay/plan/scaling.ts';
import { type PlannedSend, scheduleOf } from '../../../src/replay/plan/schedule.ts';
import { parseStages } from '../../../src/replay/plan/stages.ts';
import { arrivalsOf } from '../../support/arrivals.ts';
import { azureArrivalsUs, countDispersion } from '../../support/azure-trace.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { repeated } from '../../support/long-form.ts';
import { scalingAt } from '../../support/scalings.ts';

function sessionOf(number: number): Uint8Array {
  const session = Buffer.alloc(8);
  session.writeUInt32LE(Math.imul(number + 1, 0x9e3779b1) >>> 0, 0);
  session.writeUInt32LE(number, 4);
  return session;
}

/** Sessions of four exchanges whose turns interleave, 10 ms apart. */
function rowsOf(sessions: number): ExchangeRow[] {
  return Array.from({ length: sessions * 4 }, (_, id) =>
    exchangeRow({ id, arrivalUs: 1e9 + id * 10_000, session: sessionOf(id % sessions) }),
  );
}

function planOf(rows: readonly ExchangeRow[], scaling: Scaling): PlannedSend[] {
  return [...scheduleOf(arrivalsOf(rows), scaling)].filter(({ kept }) => kept);
}

function namesOf(plan: readonly PlannedSend[]): string[] {
  return plan.map(({ row, copy, intendedOffsetNs }) => `${row.id}/${copy}@${intendedOffsetNs}`);
}

const SESSIONS = 2_000;
const rows = rowsOf(SESSIONS);

describe.each([
  ['thin', 0.1],
  ['thin', 0.5],
  ['thin', 1],
  ['amplify', 1],
  ['amplify', 1.5],
  ['amplify', 2],
  ['amplify', 3.7],
] as const)('%s at %dx', (name, multiplier) => {
  const scaling = (seed: number) => scalingAt(multiplier, { scaling: name, seed, jitterMs: 1_000 });

  it('plans so many requests on average over the seeds, within what drawing sessions allows', () => {
    const seeds = Array.from({ length: 20 }, (_, seed) => seed);
    const counts = seeds.map((seed) => planOf(rows, scaling(seed)).length);
    const mean = counts.reduce((sum, count) => sum + count, 0) / seeds.length;
    const fraction = multiplier - Math.floor(multiplier);
    const deviation = Math.sqrt((SESSIONS * fraction * (1 - fraction)) / seeds.length) * 4;
    expect(Math.abs(mean - multiplier * rows.length)).toBeLessThanOrEqual(4 * deviation);
    for (const count of counts) expect(count % 4).toBe(0);
  });

  it('keeps sessions whole and in order, and the instants within the window and the jitter', () => {
    const plan = planOf(rows, scaling(7));
    const bySession = Map.groupBy(plan, ({ row, copy }) => `${row.id % SESSIONS}/${copy}`);
    for (const sends of bySession.values()) {
      expect(sends.map(({ row }) => Math.floor(row.id / SESSIONS))).toEqual([0, 1, 2, 3]);
      const delays = sends.map(({ row, intendedOffsetNs }) => intendedOffsetNs - row.id * 1e7);
      expect(new Set(delays).size).toBe(1);
      expect(delays[0]).toBeLessThan(1e9);
      if (sends[0]?.copy === 0) expect(delays[0]).toBe(0);
    }
    for (const [at, { intendedOffsetNs }] of plan.entries()) {
      expect(intendedOffsetNs).toBeGreaterThanOrEqual(plan[at - 1]?.intendedOffsetNs ?? 0);
    }
  });

  it('plans the same for one seed, and something else for another', () => {
    expect(namesOf(planOf(rows, scaling(3)))).toEqual(namesOf(planOf(rows, scaling(3))));
    if (multiplier !== 1) {
      expect(namesOf(planOf(rows, scaling(3)))).not.toEqual(namesOf(planOf(rows, scaling(4))));
    }
  });
});

describe('any scaling', () => {
  const scalings = fc.record({
    multiplier: fc.constantFrom(0.1, 0.5, 1, 1.5, 2, 3.7),
    seed: fc.maxSafeNat(),
    coverage: fc.constantFrom(0.3, 0.8, 1),
    targetShare: fc.constantFrom(0.1, 0.5, 1),
    jitterMs: fc.constantFrom(0, 5, 1_000),
  });
  const few = rowsOf(50);

  it('is in order, tells of each exchange once, and repeats itself', () => {
    fc.assert(
      fc.property(scalings, ({ multiplier, coverage, ...options }) => {
        for (const scaling of ['compress', multiplier < 1 ? 'thin' : 'amplify'] as const) {
          const make = () => scalingAt(multiplier, { scaling, ...options }, { coverage });
          const all = [...scheduleOf(arrivalsOf(few), make())];
          expect(all.filter(({ copy }) => copy === 0).map(({ row }) => row.id)).toEqual(
            few.map(({ id }) => id),
          );
          for (const [at, each] of all.entries()) {
            expect(each.intendedOffsetNs).toBeGreaterThanOrEqual(all[at - 1]?.intendedOffsetNs ?? 0);
            expect(Number.isSafeInteger(each.intendedOffsetNs)).toBe(true);
          }
          expect(namesOf([...scheduleOf(arrivalsOf(few), make())])).toEqual(namesOf(all));
        }
      }),
      { numRuns: repeated(6, 40) },
    );
  });

  it('makes up for what the capture does not cover, first by sessions that are kept, then by copies', () => {
    const load = (
      targetShare: number,
      coverage: number,
      scaling: 'compress' | 'amplify' | 'thin',
      m: number,
    ) => scalingAt(m, { scaling, targetShare }, { coverage }).loadAt(m);
    expect(load(1, 0.5, 'compress', 3)).toEqual({ kept: 1, copies: 2 });
    expect(load(1, 0.5, 'amplify', 1.5)).toEqual({ kept: 1, copies: 3 });
    expect(load(0.25, 0.5, 'compress', 2)).toEqual({ kept: 0.5, copies: 1 });
    expect(load(0.5, 1, 'amplify', 2)).toEqual({ kept: 0.5, copies: 2 });
    expect(load(1, 0.5, 'thin', 0.25)).toEqual({ kept: 0.5, copies: 1 });
  });

  it('refuses to play a capture of next to nothing as if it were everything', () => {
    expect(() => scalingAt(2, { scaling: 'amplify' }, { coverage: 0.001 })).toThrow(/2000 times/);
  });

  it('holds no more than the copies that wait for their time', () => {
    let read = 0;
    function* endless() {
      for (;;) yield exchangeRow({ id: read++, arrivalUs: read * 1_000 });
    }
    const schedule = scheduleOf(arrivalsOf(endless()), scalingAt(2, { scaling: 'amplify', jitterMs: 100 }));
    for (let taken = 0; taken < 10_000; taken += 1) schedule.next();
    expect(read).toBeGreaterThan(4_900);
    expect(read).toBeLessThan(5_200);
  });
});

describe('stages', () => {
  it('decide a session anew when its window is repeated in another stage', () => {
    const few = rowsOf(10);
    const spanUs = few.length * 10_000;
    const twice = [...few, ...few.map((row) => ({ ...row, arrivalUs: row.arrivalUs + spanUs }))];
    const scaling = scalingAt(1, { scaling: 'amplify', stages: parseStages('400ms@1x,400ms@3x') });
    expect(planOf(twice, scaling)).toHaveLength(few.length * (1 + 3));
  });

  const stages = parseStages('4s@1x,4s@1x..3x,2s@0.5x');

  it('of compression place every arrival where the integral of the rate is its recorded time', () => {
    const scaling = scalingAt(1, { stages });
    const plan = planOf(rows, scaling);
    for (const { row, intendedOffsetNs } of plan) {
      expect(Math.abs(scaling.curve.playedAt(intendedOffsetNs) - row.id * 1e7)).toBeLessThan(3);
    }
    // 4 s, 8 s and 1 s of the recording, an exchange each 10 ms.
    expect(plan).toHaveLength(1_300);
    expect(plan.at(-1)?.intendedOffsetNs).toBeLessThan(10e9);
  });

  it('of copies decide a session by its first exchange, and play what the rate asks for on average', () => {
    const alone = rows.map((row) => ({ ...row, session: null }));
    const scaling = (seed: number) =>
      scalingAt(1, { scaling: 'amplify', stages: parseStages('20s@1x,20s@3x'), seed });
    const late = planOf(alone, scaling(1)).filter(({ row }) => row.id >= 2_000);
    expect(late).toHaveLength(2_000 * 3);
    const whole = Map.groupBy(planOf(rowsOf(1_500), scaling(1)), ({ row }) => row.id % 1_500);
    // All begin while 1x holds; none grows a copy in its middle.
    expect([...whole.values()].every((sends) => sends.every(({ copy }) => copy === 0))).toBe(true);
  });
});

describe('burstiness of the Azure conversation trace at twice its rate', () => {
  const arrivals = azureArrivalsUs();
  const trace = arrivals.map((arrivalUs, id) => exchangeRow({ id, arrivalUs }));
  const idc60 = (scaling: Scaling) =>
    countDispersion(
      planOf(trace, scaling).map(({ intendedOffsetNs }) => intendedOffsetNs / 1e3),
      60,
    );

  it('is what was recorded over twice the time where it is compressed', () => {
    const compressed = idc60(scalingAt(2));
    expect(compressed).toBeCloseTo(countDispersion(arrivals, 120), 6);
    expect(compressed).toBeGreaterThan(27);
    expect(compressed).toBeLessThan(33);
  });

  it('is doubled where sessions are played twice, with and without jitter', () => {
    for (const jitterMs of [0, 1_000]) {
      const amplified = idc60(scalingAt(2, { scaling: 'amplify', jitterMs }));
      expect(amplified).toBeGreaterThan(29.5);
      expect(amplified).toBeLessThan(34.5);
    }
  });

  it('is halved, and no more than chance adds, where every second one is left out', () => {
    const recorded = countDispersion(arrivals, 60);
    const thinned = idc60(scalingAt(0.5, { scaling: 'thin' }));
    expect(Math.abs(thinned - (recorded / 2 + 0.5))).toBeLessThan(1.5);
  });
});
