import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArrivalStatistics } from '../../../src/analysis/stats/arrivals.ts';
import type { ArrivalFigures } from '../../../src/documents/replay.ts';
import { fixtureData, missing, sharedData } from '../../support/shared-data.ts';

const AZURE = 'azure-llm-2023-conv/AzureLLMInferenceTrace_conv.csv.gz';
const MOONCAKE = 'mooncake-synthetic/synthetic_trace.jsonl.gz';
const azurePath = existsSync(fixtureData(AZURE)) ? fixtureData(AZURE) : sharedData(AZURE);
const mooncakePath = sharedData(MOONCAKE);

function figuresOf(arrivals: readonly number[], ticksPerSecond = 1e6): ArrivalFigures {
  const statistics = new ArrivalStatistics(ticksPerSecond);
  for (const at of arrivals) statistics.add(at);
  return statistics.figures();
}

/** Index of dispersion by listing every window's count. */
function naiveDispersion(arrivals: readonly number[], widthTicks: number): number | null {
  const first = arrivals[0] as number;
  const windows = Math.floor(((arrivals.at(-1) as number) - first) / widthTicks);
  if (windows < 20) return null;
  const counts = new Array<number>(windows).fill(0);
  for (const at of arrivals) {
    const window = Math.floor((at - first) / widthTicks);
    if (window < windows) counts[window] = (counts[window] as number) + 1;
  }
  const mean = counts.reduce((sum, each) => sum + each, 0) / windows;
  return counts.reduce((sum, each) => sum + (each - mean) ** 2, 0) / windows / mean;
}

function naiveCv(arrivals: readonly number[]): number | null {
  const gaps = arrivals.slice(1).map((at, before) => at - (arrivals[before] as number));
  const mean = gaps.reduce((sum, each) => sum + each, 0) / gaps.length;
  if (gaps.length === 0 || mean === 0) return null;
  return Math.sqrt(gaps.reduce((sum, each) => sum + (each - mean) ** 2, 0) / gaps.length) / mean;
}

function azureArrivals(path: string): number[] {
  const lines = gunzipSync(readFileSync(path)).toString('utf8').trim().split('\n').slice(1);
  return lines.map((line) => {
    const [, day, time, fraction] = /^(\S+) (\d\d:\d\d:\d\d)\.(\d{7}),/.exec(line) as RegExpExecArray;
    return Date.parse(`${day}T${time}Z`) * 1_000 + Math.round(Number(fraction) / 10);
  });
}

/** Gaps with ties, bursts and silences, as arrivals in ticks. */
const arrivals = fc
  .tuple(
    fc.nat(2 ** 40),
    fc.array(fc.oneof(fc.constant(0), fc.nat(1_000), fc.nat(200_000), fc.nat(3_000_000)), {
      minLength: 1,
      maxLength: 200,
    }),
  )
  .map(([origin, gaps]) => {
    let at = origin;
    const rest = gaps.map((gap) => {
      at += gap;
      return at;
    });
    return [origin, ...rest];
  });

describe('ArrivalStatistics', () => {
  test.skipIf(azurePath === null)('finds the published figures of the Azure conversation hour', () => {
    const trace = azureArrivals(azurePath as string);
    const figures = figuresOf(trace);
    expect(figures.count).toBe(19_366);
    expect(figures.ratePerSecond).toBeCloseTo(5.53, 3);
    expect(figures.cv).toBeCloseTo(1.094, 3);
    expect(figures.peakToMean1s).toBeCloseTo(2.89, 2);
    expect(figures.idc['1']).toBeCloseTo(1.39, 1);
    expect(figures.idc['60']).toBeCloseTo(16.1, 1);
    expect(figures.idc['600']).toBeNull();
    expect(figures.gapMs?.p50).toBeCloseTo(118, 0);
    expect(figures.gapMs?.p90).toBeCloseTo(421, 0);
    expect(figures.gapMs?.p99).toBeCloseTo(891, 0);
    expect(figures.ties).toBe(0);
    for (const seconds of ['0.1', '1', '10', '60'] as const) {
      const naive = naiveDispersion(trace, Number(seconds) * 1e6) as number;
      expect(figures.idc[seconds]).toBeCloseTo(naive, 9);
    }
    expect(figures.cv).toBeCloseTo(naiveCv(trace) as number, 9);
  });

  test.skipIf(mooncakePath === null)(
    `finds the Poisson figures of the synthetic Mooncake trace${mooncakePath === null ? ` (${missing(MOONCAKE)})` : ''}`,
    () => {
      const lines = gunzipSync(readFileSync(mooncakePath as string))
        .toString('utf8')
        .trim()
        .split('\n');
      const figures = figuresOf(
        lines.map((line) => JSON.parse(line).timestamp),
        1_000,
      );
      expect(figures.count).toBe(3_993);
      expect(figures.ratePerSecond).toBeCloseTo(3.907, 3);
      expect(figures.cv).toBeCloseTo(1.011, 3);
      expect(figures.idc['1']).toBeCloseTo(1.09, 2);
      expect(figures.idc['10']).toBeCloseTo(1.18, 2);
      expect(figures.idc['60']).toBeNull();
    },
  );

  test('agrees with counting every window and every gap', () => {
    fc.assert(
      fc.property(arrivals, (all) => {
        const figures = figuresOf(all);
        const cv = naiveCv(all);
        if (cv === null) expect(figures.cv).toBeNull();
        else expect(figures.cv).toBeCloseTo(cv, 9);
        for (const seconds of ['0.1', '1', '10'] as const) {
          const naive = naiveDispersion(all, Number(seconds) * 1e6);
          if (naive === null) expect(figures.idc[seconds]).toBeNull();
          else expect(figures.idc[seconds]).toBeCloseTo(naive, 9);
        }
        const zeroGaps = all.slice(1).filter((at, before) => at === all[before]).length;
        expect(figures.ties).toBe(zeroGaps / (all.length - 1));
      }),
    );
  });

  test('says the same of the same arrivals in nanoseconds', () => {
    fc.assert(
      fc.property(arrivals, (all) => {
        const origin = all[0] as number;
        const inUs = figuresOf(all);
        const inNs = figuresOf(
          all.map((at) => (at - origin) * 1_000),
          1e9,
        );
        expect(inNs.idc).toEqual(inUs.idc);
        expect(inNs.ratePerSecond).toBe(inUs.ratePerSecond);
        expect(inNs.peak1s).toBe(inUs.peak1s);
        if (inUs.cv !== null) expect(inNs.cv).toBeCloseTo(inUs.cv, 9);
      }),
    );
  });

  test('begins every window exactly a width after the one before, in the second week too', () => {
    const statistics = new ArrivalStatistics(1e6);
    const twoWeeks = 14 * 86_400;
    // Two arrivals just inside each end of every hundredth second: a window that drifts by one tick shows it.
    for (let second = 0; second < twoWeeks; second += 100) {
      statistics.add(second * 1_000_000);
      statistics.add(second * 1_000_000 + 999_999);
    }
    statistics.add(twoWeeks * 1_000_000);
    const mean = 2 / 100;
    const variance = (4 * 1) / 100 - mean * mean;
    expect(statistics.figures().idc['1']).toBeCloseTo(variance / mean, 9);
    expect(statistics.figures().peak1s).toBe(2);
  });

  test('crosses a silence of a year in one step', () => {
    const year = 365 * 86_400 * 1e6;
    const figures = figuresOf([0, 1, year, year + 1]);
    // 315,360,000 windows of 0.1 s, two arrivals in the first and none in any other.
    const windows = year / 100_000;
    expect(figures.idc['0.1']).toBeCloseTo((4 / windows - (2 / windows) ** 2) / (2 / windows), 9);
  });

  test('leaves out the window that holds the last arrival, and counts it for the peak', () => {
    const everySecond = Array.from({ length: 21 }, (_, second) => second * 1e6);
    const figures = figuresOf([...everySecond, 20_000_001, 20_000_002, 20_000_003]);
    expect(figures.idc['1']).toBe(0);
    expect(figures.peak1s).toBe(4);
    expect(figuresOf(everySecond.slice(0, 20)).idc['1']).toBeNull();
  });

  test('has no figures for what none or one arrival cannot say', () => {
    const none = figuresOf([]);
    expect(none).toMatchObject({
      count: 0,
      spanS: 0,
      ratePerSecond: null,
      cv: null,
      ties: null,
      gapMs: null,
    });
    const one = figuresOf([5]);
    expect(one).toMatchObject({
      count: 1,
      ratePerSecond: null,
      cv: null,
      ties: null,
      peak1s: 1,
      gapMs: null,
    });
    const tied = figuresOf([5, 5, 5]);
    expect(tied).toMatchObject({
      count: 3,
      ratePerSecond: null,
      cv: null,
      ties: 1,
      peak1s: 3,
      peakToMean1s: null,
    });
    expect(Object.values(tied.idc)).toEqual([null, null, null, null, null]);
  });

  test('refuses an arrival before its predecessor', () => {
    const statistics = new ArrivalStatistics(1e6);
    statistics.add(10);
    expect(() => statistics.add(9)).toThrow(/before/);
    expect(() => new ArrivalStatistics(1)).toThrow(RangeError);
  });
});
