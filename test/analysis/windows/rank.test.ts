import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { rankedWindowsDocument } from '../../../src/analysis/windows/build-document.ts';
import { windowsPage, windowsText } from '../../../src/analysis/windows/view.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import { rankedWindowsSchema } from '../../../src/documents/ranked-windows.ts';
import { azureTokens } from '../../support/azure-trace.ts';
import { SERVICE_TIMES, uniform } from '../../support/queue-simulator.ts';
import {
  expectEarly,
  rankedIn,
  TRUE_SERVERS,
  type TrueTraffic,
  trafficOf,
  truthOf,
} from '../../support/true-windows.ts';

const MINUTE_S = 60;
const BEGIN_US = Date.UTC(2026, 10, 2) * 1e3;

describe('the hardest minute of an hour of a production trace', () => {
  test.each(Object.keys(TRUE_SERVERS))('breaks early, if a server needs time for %s', (of) => {
    const server = TRUE_SERVERS[of]!;
    // The trace has three times the requests, so its server has more executors.
    const traffic = trafficOf(
      azureTokens(),
      { ...server, executors: 2 * server.executors },
      'with latencies',
    );
    const windows = rankedIn(traffic, MINUTE_S);
    expectEarly(truthOf(traffic, windows, MINUTE_S, server.limitS / 3));
  });
});

interface Planted extends Partial<Pick<TrueTraffic, 'seen' | 'recordedS'>> {
  readonly seed: number;
  /** Requests in each minute. */
  readonly minutes: readonly number[];
  readonly serviceS?: (at: number, minute: number) => number;
}

/** Traffic of minutes, answered by two executors. The begin of minute 3 is that of window 3. */
function planted({ seed, minutes, serviceS = () => 0.2, ...rest }: Planted): TrueTraffic {
  const random = uniform(seed);
  const arrivals = minutes.flatMap((count, minute) =>
    Array.from({ length: count }, () => Math.floor((minute + random()) * MINUTE_S * 1e6)).sort(
      (a, b) => a - b,
    ),
  );
  return {
    arrivalsUs: Float64Array.from(arrivals, (us) => BEGIN_US + us),
    servicesS: Float64Array.from(
      arrivals,
      (us, at) => serviceS(at, Math.floor(us / 60e6)) * SERVICE_TIMES.steady(random),
    ),
    executors: 2,
    seen: () => ({ requestBytes: 1_000 }),
    ...rest,
  };
}

const MINUTES = 40;
const even = Array.from({ length: MINUTES }, () => 120);
const minuteOf = (us: number) => Math.floor((us - BEGIN_US) / 60e6);
const context = {
  ...{ capture: 'c', captureDigest: 'd', timeZone: 'UTC', lengthS: MINUTE_S, multiplier: 2 },
  ...{ coverage: 1, coverageIsAtLeast: false, recordersMissing: null },
};

test('finds a planted minute, whether it has more requests, larger ones or all at once', () => {
  const kinds = fc.constantFrom('more', 'larger', 'at once');
  fc.assert(
    fc.property(fc.nat(1e6), fc.nat(MINUTES - 1), kinds, fc.boolean(), (seed, hard, kind, hasLatencies) => {
      // Arrivals alone do not show that requests are larger.
      fc.pre(hasLatencies || kind !== 'larger');
      const isHard = (minute: number) => minute === hard;
      const traffic = planted({
        seed,
        minutes: even.map((count, minute) => (isHard(minute) && kind === 'more' ? 2 * count : count)),
        serviceS: (_, minute) => (isHard(minute) && kind === 'larger' ? 0.5 : 0.2),
        seen: (at) => ({
          requestBytes: isHard(minuteOf(traffic.arrivalsUs[at]!)) && kind === 'larger' ? 50_000 : 1_000,
        }),
        ...(hasLatencies ? {} : { recordedS: () => null }),
      });
      if (kind === 'at once') {
        const bunched = traffic.arrivalsUs.map((us) =>
          minuteOf(us) === hard ? BEGIN_US + (hard + ((us - BEGIN_US) / 60e6 - hard) / 20) * 60e6 : us,
        );
        traffic.arrivalsUs.set(bunched.map(Math.floor));
      }
      const { starts, order } = rankedIn(traffic, MINUTE_S);
      expect(minuteOf(starts[order[0]!]!)).toBe(hard);
    }),
    { numRuns: 30 },
  );
});

test('does not take a slow server for a hard load', () => {
  const traffic = planted({
    seed: 1,
    minutes: even.map((count, minute) => (minute === 30 ? 2 * count : minute === 12 ? count / 4 : count)),
    recordedS: (at, latencyS) => (minuteOf(traffic.arrivalsUs[at]!) === 12 ? latencyS + 20 : latencyS),
  });
  const { starts, order } = rankedIn(traffic, MINUTE_S);
  expect(minuteOf(starts[order[0]!]!)).toBe(30);
  expect(order.findIndex((at) => minuteOf(starts[at]!) === 12)).toBeGreaterThan(MINUTES / 2);
});

test('proposes a second window where the hardest lacks a part of the payload mix', () => {
  const isImage = (at: number) => minuteOf(traffic.arrivalsUs[at]!) === 25 && at % 2 === 0;
  const traffic: TrueTraffic = planted({
    seed: 2,
    minutes: even.map((count, minute) => (minute === 7 ? 2 * count : count)),
    seen: (at) => ({
      route: isImage(at) ? 'POST /v1/images' : 'POST /v1/chat',
      model: at % 2 === 0 ? 'a' : 'b',
      requestBytes: 1_000,
    }),
  });
  const document = rankedWindowsDocument(rankedIn(traffic, MINUTE_S), context);
  expect(rankedWindowsSchema.parse(document)).toEqual(document);
  const instant = (minute: number) => new Date((BEGIN_US + minute * 60e6) / 1e3).toISOString();
  const [hardest] = document.windows;
  expect(Date.parse(hardest!.from)).toBe(Date.parse(instant(7)));
  expect(hardest).toMatchObject({ harderThan: (MINUTES - 1) / MINUTES, chosenFor: 'hardness' });
  const mix = document.windows.filter(({ chosenFor }) => chosenFor === 'mix');
  expect(mix.map(({ from }) => Date.parse(from))).toEqual([Date.parse(instant(25))]);
  expect(document.hardest.map(({ subject }) => subject)).toEqual(
    expect.arrayContaining(['POST /v1/images', 'a', 'b']),
  );
});

test('proposes none where the hardest has at least half of everything', () => {
  const traffic = planted({
    seed: 3,
    minutes: even.map((count, minute) => (minute === 7 ? 2 * count : count)),
    seen: (at) => ({ model: at % 2 === 0 ? 'a' : 'b', requestBytes: 1_000 }),
  });
  const { windows } = rankedWindowsDocument(rankedIn(traffic, MINUTE_S), context);
  expect(windows.map(({ chosenFor }) => chosenFor)).not.toContain('mix');
});

test('windows without a request are counted and not compared, and long silences are named', () => {
  const traffic = planted({ seed: 4, minutes: [60, 60, ...Array.from({ length: 90 }, () => 0), 60, 0, 60] });
  const windows = rankedIn(traffic, MINUTE_S);
  expect(windows).toMatchObject({ starts: { length: 4 }, empty: 91 });
  expect(windows.silentUs).toBe(windows.silence!.toUs - windows.silence!.fromUs);
  expect(windows.silentUs / 60e6).toBeCloseTo(90, 0);
});

test('two weeks stand for a month, a hole in them is named, and the calendar marks the hardest', () => {
  const perHour = Array.from({ length: 14 * 24 }, (_, hour) => {
    if (hour >= 100 && hour < 140) return 0;
    return hour === 200 ? 60 : 10;
  });
  const minutes = perHour.flatMap((count) => Array.from({ length: 60 }, (_, at) => (at < count ? 1 : 0)));
  const lengthS = 3_600;
  const document = rankedWindowsDocument(rankedIn(planted({ seed: 7, minutes }), lengthS), {
    ...context,
    lengthS,
  });
  expect(rankedWindowsSchema.parse(document)).toEqual(document);
  expect(document).toMatchObject({ isMonth: true, empty: 40 });
  expect(document.days).toBeCloseTo(14, 0);
  expect(document.silentS / 3_600).toBeCloseTo(41, 0);
  expect(Date.parse(document.windows[0]!.from)).toBe(BEGIN_US / 1e3 + 200 * 3_600e3);
  const lines = windowsText(document);
  expect(lines.find((line) => line.includes('Tue 2026-11-10'))).toMatch(/ {2}< 08:00 to 09:00 the hardest$/);
  expect(lines.filter((line) => line.includes('  < '))).toHaveLength(1);
  expect(windowsPage(document, { script: '', style: '' }).match(/<rect class="framed"/g)).toHaveLength(1);
  const week = rankedWindowsDocument(
    rankedIn(planted({ seed: 7, minutes: minutes.slice(0, 10_000) }), lengthS),
    {
      ...context,
      lengthS,
    },
  );
  expect(week.isMonth).toBe(false);
  expect(windowsText(week).join('\n')).toContain('less than the 14 days');
});

test('names of models beyond the most that are compared are counted', () => {
  const traffic = planted({
    seed: 5,
    minutes: even.slice(0, 10),
    seen: (at) => ({ model: `model-${at % (LIMITS.rankedNames + 10)}` }),
  });
  const { otherNames, requests } = rankedIn(traffic, MINUTE_S);
  const all = requests.reduce((sum, each) => sum + each, 0);
  expect(otherNames).toBeGreaterThan(0);
  expect(otherNames / all).toBeCloseTo(10 / (LIMITS.rankedNames + 10), 2);
});

test('goes to a higher load where hardly a request waits at the multiplier', () => {
  const busy = planted({ seed: 6, minutes: even, serviceS: () => 0.9 });
  const idle = planted({ seed: 6, minutes: even, serviceS: () => 0.02 });
  expect(rankedIn(busy, MINUTE_S).multiplier).toBe(2);
  expect(rankedIn(idle, MINUTE_S).multiplier).toBeGreaterThan(2);
});
