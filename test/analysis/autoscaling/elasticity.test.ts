import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ElasticityWindow, elasticityOf } from '../../../src/analysis/autoscaling/autoscaling.ts';

/** The formulas as they are printed: 100/T · Σ … · Δt, one loop each. */
function reference(windows: readonly ElasticityWindow[], dt: number, rate: number) {
  const known = windows.filter(({ replicas }) => replicas !== null);
  const T = known.length * dt;
  let [thetaU, thetaO, tauU, tauO, upsilon] = [0, 0, 0, 0, 0];
  let [supplied, needed, over] = [0, 0, 0];
  let before: { d: number; s: number } | null = null;
  for (const { offeredPerSecond, replicas } of known) {
    const s = replicas as number;
    let d = 1;
    while (d * rate < offeredPerSecond - 1e-9) d += 1;
    if (d > s) {
      thetaU += ((d - s) / d) * dt;
      tauU += dt;
    }
    if (s > d) {
      thetaO += ((s - d) / d) * dt;
      tauO += dt;
      over += (s - d) * dt;
    }
    if (before !== null && Math.sign(s - before.s) !== Math.sign(d - before.d)) upsilon += dt;
    supplied += s * dt;
    needed += d * dt;
    before = { d, s };
  }
  return { T, thetaU, thetaO, tauU, tauO, upsilon, supplied, needed, over };
}

test('the figures are those of the printed formulas', () => {
  const window = fc.record({
    offeredPerSecond: fc.integer({ min: 0, max: 400 }),
    replicas: fc.option(fc.integer({ min: 0, max: 12 }), { freq: 5, nil: null }),
  });
  fc.assert(
    fc.property(
      fc.array(window, { minLength: 1, maxLength: 60 }),
      fc.constantFrom(1, 5, 10),
      fc.constantFrom(7, 30, 100),
      (windows, dt, rate) => {
        const figures = elasticityOf(windows, dt, rate);
        if (windows.every(({ replicas }) => replicas === null)) {
          expect(figures).toBeNull();
          return;
        }
        const { T, thetaU, thetaO, tauU, tauO, upsilon, supplied, needed, over } = reference(
          windows,
          dt,
          rate,
        );
        const share = (sum: number) => (100 / T) * sum;
        expect(figures?.knownS).toBe(T);
        expect(figures?.under.accuracyPercent).toBeCloseTo(share(thetaU), 9);
        expect(figures?.over.accuracyPercent).toBeCloseTo(share(thetaO), 9);
        expect(figures?.under.timesharePercent).toBeCloseTo(share(tauU), 9);
        expect(figures?.over.timesharePercent).toBeCloseTo(share(tauO), 9);
        expect(figures?.instabilityPercent).toBeCloseTo(share(upsilon), 9);
        expect(figures?.replicaSeconds).toEqual({ supplied, needed, overPerfect: over });
      },
    ),
  );
});

test('an example by hand: half of the time one replica short of two, then one over', () => {
  const windows = [
    { offeredPerSecond: 150, replicas: 1 },
    { offeredPerSecond: 150, replicas: 3 },
  ];
  expect(elasticityOf(windows, 10, 100)).toEqual({
    ratePerReplica: 100,
    windowS: 10,
    knownS: 20,
    under: { accuracyPercent: 25, timesharePercent: 50 },
    over: { accuracyPercent: 25, timesharePercent: 50 },
    instabilityPercent: 50,
    replicaSeconds: { supplied: 40, needed: 40, overPerfect: 10 },
  });
});
