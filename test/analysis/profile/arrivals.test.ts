import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { azureArrivalsUs, countDispersion, gapVariation } from '../../support/azure-trace.ts';
import { arrivingAt, profileOf } from '../../support/profiles.ts';
import { missing, sharedData } from '../../support/shared-data.ts';

const MOONCAKE = 'mooncake-synthetic/synthetic_trace.jsonl.gz';
const mooncakePath = sharedData(MOONCAKE);

/** Counts in whole windows from the first arrival, the plain way. */
function wholeWindows(arrivalsUs: readonly number[], windowS: number): number[] {
  const first = arrivalsUs[0] ?? 0;
  const index = (us: number) => Math.floor((us - first) / (windowS * 1e6));
  const counts = new Array<number>(index(arrivalsUs.at(-1) ?? first)).fill(0);
  for (const us of arrivalsUs) if (index(us) < counts.length) counts[index(us)]! += 1;
  return counts;
}

describe('the profile of the Azure conversation hour', () => {
  const arrivalsUs = azureArrivalsUs();
  const profile = profileOf(arrivingAt(arrivalsUs));

  test('has the published figures', () => {
    expect(profile.requests).toBe(19_366);
    expect(profile.rate.mean).toBeCloseTo(5.53, 3);
    expect(profile.interArrival.cv).toBeCloseTo(1.094, 3);
    expect((profile.interArrival.p50Ms ?? 0) / 1e3).toBeCloseTo(0.118, 2);
    expect((profile.interArrival.p90Ms ?? 0) / 1e3).toBeCloseTo(0.421, 3);
    expect((profile.interArrival.p99Ms ?? 0) / 1e3).toBeCloseTo(0.891, 3);
    expect(profile.rate.peakToMean1s).toBeCloseTo(2.89, 2);
    expect(profile.idc['1']).toBeCloseTo(1.39, 2);
    expect(profile.idc['60']).toBeCloseTo(16.1, 1);
    expect(profile.rate.peak1h).toBeNull();
  });

  test('agrees with sums made the plain way', () => {
    expect(profile.interArrival.cv).toBeCloseTo(gapVariation(arrivalsUs), 9);
    for (const window of ['0.1', '1', '10', '60'] as const) {
      expect(profile.idc[window]).toBeCloseTo(countDispersion(arrivalsUs, Number(window)), 9);
    }
    for (const peak of profile.peaks) {
      const counts = wholeWindows(arrivalsUs, peak.windowS);
      const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
      const at = counts.indexOf(Math.max(...counts));
      expect(peak.requests).toBe(counts[at]);
      expect(peak.toMean).toBeCloseTo(counts[at]! / mean, 9);
      const fromUs = (arrivalsUs[0] ?? 0) + at * peak.windowS * 1e6;
      expect(Date.parse(peak.from) * 1e3).toBeCloseTo(Math.floor(fromUs / 1e3) * 1e3, 0);
    }
    expect(profile.peaks.map(({ windowS }) => windowS)).toEqual([1, 60, 600]);
  });

  test('counts each request once in the hours of the week and over time', () => {
    expect(profile.hourOfWeek.reduce((sum, count) => sum + count, 0)).toBe(19_366);
    expect(profile.series.requests.reduce((sum, count) => sum + count, 0)).toBe(19_366);
    // 2023-11-16 was a Thursday; the trace runs from 18:15 to 19:14.
    expect(profile.hourOfWeek[3 * 24 + 18]! + profile.hourOfWeek[3 * 24 + 19]!).toBe(19_366);
    expect(profile.interArrival.shape.at(-1)?.share).toBe(1);
  });
});

test.skipIf(mooncakePath === null)(
  `the synthetic Mooncake trace is Poisson${mooncakePath === null ? ` (${missing(MOONCAKE)})` : ''}`,
  () => {
    const lines = gunzipSync(readFileSync(mooncakePath as string))
      .toString('utf8')
      .trimEnd()
      .split('\n');
    const profile = profileOf(
      arrivingAt(lines.map((line) => (JSON.parse(line) as { timestamp: number }).timestamp * 1e3)),
    );
    expect(profile.requests).toBe(3_993);
    expect(profile.rate.mean).toBeCloseTo(3.907, 3);
    expect(profile.interArrival.cv).toBeCloseTo(1.011, 3);
    expect(profile.idc['1']).toBeCloseTo(1.09, 2);
    expect(profile.idc['10']).toBeCloseTo(1.18, 2);
    expect(profile.idc['60']).toBeNull();
  },
);

describe('a profile of almost nothing', () => {
  test('of no request has no rate, no gap and no share, and 168 hours', () => {
    const profile = profileOf([]);
    expect(profile).toMatchObject({
      requests: 0,
      window: null,
      peaks: [],
      duplicateRatio: null,
      rate: { mean: null, peak1s: null, peakToMean1s: null },
      interArrival: { cv: null, p50Ms: null, ties: null, shape: [] },
      latencyMs: { count: 0, p50: null, shape: [] },
      concurrency: { mean: null, max: null },
      errors: { failed: 0, failedShare: null },
    });
    expect(profile.hourOfWeek).toEqual(new Array(168).fill(0));
    expect(profile.hourOfWeekPerSecond).toEqual(new Array(168).fill(null));
    expect(JSON.stringify(profile)).not.toMatch(/NaN|Infinity/);
  });

  test('of one request has a size and a latency, and no rate', () => {
    const profile = profileOf(arrivingAt([1e15]));
    expect(profile.rate).toMatchObject({ mean: null, peak1s: null, peak1h: null });
    expect(profile.latencyMs).toMatchObject({ count: 1, p50: 6, max: 6 });
    expect(profile.concurrency).toMatchObject({ mean: null, max: 1 });
  });

  test('of ties alone has gaps of 0 and no variation', () => {
    const profile = profileOf(arrivingAt([1e15, 1e15, 1e15]));
    expect(profile.interArrival).toMatchObject({ ties: 1, cv: null, p50Ms: 0, maxMs: 0 });
    expect(profile.interArrival.shape).toEqual([{ upTo: 0, share: 1 }]);
    expect(profile.concurrency.max).toBe(3);
  });
});

test('whatever arrives, every number of a profile is finite and every request is counted once', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 2e10 }), { maxLength: 60 }), (offsets) => {
      const arrivalsUs = offsets.sort((a, b) => a - b).map((offset) => 1.7e15 + offset);
      const profile = profileOf(arrivingAt(arrivalsUs));
      const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
      expect(sum(profile.series.requests)).toBe(offsets.length);
      expect(sum(profile.hourOfWeek)).toBe(offsets.length);
      expect(profile.series.at.length).toBeLessThanOrEqual(4_100);
      for (const peak of profile.peaks) {
        const counts = wholeWindows(arrivalsUs, peak.windowS);
        expect(peak.requests).toBe(counts.reduce((most, count) => Math.max(most, count), 0));
      }
      const { shape } = profile.interArrival;
      expect(
        shape.every(
          ({ share, upTo }, at) => share > (shape[at - 1]?.share ?? 0) && upTo >= (shape[at - 1]?.upTo ?? 0),
        ),
      ).toBe(true);
    }),
    { numRuns: 30 },
  );
});
