import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DayCalendar } from '../../../src/core/calendar.ts';
import { Problems } from '../../../src/core/errors.ts';
import { byProgram, readOptions, type StatedOptions } from '../../../src/core/options.ts';
import { formatInstantUs } from '../../../src/core/units.ts';
import {
  WINDOW_OPTIONS,
  type WindowRequest,
  windowRequestOf,
} from '../../../src/replay/options/window-options.ts';
import type { CaptureOverview, SecondSums } from '../../../src/replay/window/capture.ts';
import { findStretch, type SearchKind, type StretchSearch } from '../../../src/replay/window/search.ts';
import { chooseWindow } from '../../../src/replay/window/window.ts';
import { repeated } from '../../support/long-form.ts';
import { rolledUp } from '../../support/rolled-up.ts';

const DAY_US = 86_400_000_000;

function overviewOf(
  firstArrivalUs: number | null,
  lastArrivalUs: number | null,
  seconds: readonly SecondSums[] = [],
): CaptureOverview {
  return {
    name: 'capture',
    exchanges: seconds.reduce((sum, { exchanges }) => sum + exchanges, 2),
    firstArrivalUs,
    lastArrivalUs,
    coverage: 1,
    arrivalsOnly: false,
    targets: [],
    sessionKeys: [],
    seconds: rolledUp(seconds),
    hardest: () => expect.unreachable(),
  };
}

/** What the flags ask for, each as on the command line. */
function asked(raw: StatedOptions<typeof WINDOW_OPTIONS>): WindowRequest {
  const problems = new Problems();
  const request = windowRequestOf(
    readOptions(WINDOW_OPTIONS, byProgram(WINDOW_OPTIONS, raw), problems),
    problems,
  );
  problems.throwIfAny();
  return request;
}

const instant = (us: number) => formatInstantUs(us);

describe('chooseWindow', () => {
  it('takes the whole capture, last arrival included, where nothing was asked for', () => {
    expect(chooseWindow(overviewOf(1_000, 5_000), asked({}), 2)).toMatchObject({
      fromUs: 1_000,
      toUs: 5_001,
      parts: [{ fromUs: 1_000, toUs: 5_001 }],
      loops: 1,
      durationNs: null,
      plannedSpanNs: 2_000_000,
      found: null,
    });
  });

  it('cuts what was asked for to what there is', () => {
    const request = asked({ window: [`${instant(0)}..${instant(3_000)}`] });
    expect(chooseWindow(overviewOf(1_000, 5_000), request, 1)).toMatchObject({ fromUs: 1_000, toUs: 3_000 });
  });

  it.each([
    ['an empty capture', overviewOf(null, null), {}],
    ['a window before it', overviewOf(1_000, 5_000), { window: [`${instant(0)}..${instant(1_000)}`] }],
    ['a window after it', overviewOf(1_000, 5_000), { window: [`${instant(5_001)}..`] }],
    [
      'one of several windows',
      overviewOf(0, 5_000),
      { window: [`${instant(0)}..${instant(9)}`, `${instant(5_001)}..${instant(9_000)}`] },
    ],
  ])('finds nothing in %s', (_, overview, raw) => {
    expect(() => chooseWindow(overview, asked(raw), 1)).toThrow(
      expect.objectContaining({ code: 'CAPTURE_EMPTY' }),
    );
  });

  it('says the way out of a capture that holds nothing at all', () => {
    expect(() => chooseWindow(overviewOf(null, null), asked({}), 1)).toThrow(
      expect.objectContaining({ hint: expect.stringContaining('reprise inspect') }),
    );
  });

  it('says which of several days lies outside of the capture', () => {
    const overview = overviewOf(Date.UTC(2026, 10, 20) * 1e3, Date.UTC(2026, 10, 22) * 1e3);
    const days = asked({ window: ['2026-11-20', '2026-11-24', '2026-11-21'] });
    expect(() => chooseWindow(overview, days, 1)).toThrow(
      /the window from 2026-11-24T00:00:00\.000000Z to 2026-11-25T00:00:00\.000000Z/,
    );
  });

  it('refuses a replay of more than a hundred days, whose nanoseconds no longer count exactly', () => {
    const year = overviewOf(0, 365 * DAY_US);
    const refused = expect.objectContaining({ code: 'OPTION_INVALID' });
    expect(() => chooseWindow(year, asked({}), 1)).toThrow(refused);
    expect(() => chooseWindow(year, asked({ loop: '20' }), 10)).toThrow(refused);
    expect(() => chooseWindow(year, asked({ duration: '200d' }), 1)).toThrow(refused);
    expect(chooseWindow(year, asked({}), 10).plannedSpanNs).toBeLessThan(Number.MAX_SAFE_INTEGER);
    expect(chooseWindow(year, asked({ duration: '1h' }), 1).plannedSpanNs).toBe(3_600e9);
  });

  it('plays windows in the order they were given, and spans them all', () => {
    const pairs = { window: [`${instant(3_000)}..${instant(5_000)}`, `${instant(0)}..${instant(1_000)}`] };
    const window = chooseWindow(overviewOf(0, 9_000), asked({ ...pairs, loop: '3' }), 2);
    expect(window.parts).toEqual([
      { fromUs: 3_000, toUs: 5_000 },
      { fromUs: 0, toUs: 1_000 },
    ]);
    expect(window).toMatchObject({ fromUs: 0, toUs: 5_000, loops: 3 });
    expect(window.plannedSpanNs).toBe(((1_999 + 999) * 1_000 * 3) / 2);
  });

  it('repeats for as long as a duration takes, unless it is said how often', () => {
    expect(asked({ duration: '10m' })).toMatchObject({ loops: null, durationMs: 600_000 });
    expect(asked({ duration: '10m', loop: '2' })).toMatchObject({ loops: 2, durationMs: 600_000 });
  });
});

describe('a day as a window', () => {
  const hours = (day: string, tz: string) => {
    const [range] = asked({ window: [`${day}`], tz: tz }).ranges;
    return ((range?.toUs ?? 0) - (range?.fromUs ?? 0)) / 3.6e9;
  };

  it.each([
    ['2026-11-20', 'UTC', 24],
    ['2026-03-29', 'Europe/Berlin', 23],
    ['2026-10-25', 'Europe/Berlin', 25],
    ['2026-10-04', 'Australia/Lord_Howe', 23.5],
    ['2026-11-20', 'Asia/Kathmandu', 24],
    ['2026-11-20', '+05:30', 24],
  ])('%s in %s has %d hours', (day, tz, length) => {
    expect(hours(day, tz)).toBe(length);
  });

  it('begins and ends where the zone says', () => {
    expect(asked({ window: ['2026-11-20'], tz: 'Europe/Berlin' }).ranges).toEqual([
      {
        fromUs: Date.parse('2026-11-19T23:00:00Z') * 1e3,
        toUs: Date.parse('2026-11-20T23:00:00Z') * 1e3,
      },
    ]);
  });

  const zones = fc.constantFrom(
    ...['UTC', 'Europe/Berlin', 'America/New_York', 'America/Sao_Paulo', 'Asia/Kolkata', 'Asia/Kathmandu'],
    ...['Pacific/Kiritimati', 'Pacific/Pago_Pago', 'Pacific/Chatham', 'Australia/Lord_Howe', 'Africa/Cairo'],
  );

  it('holds every instant of a day and none of another, and ends where the next begins', () => {
    const days = fc.integer({ min: 0, max: 4_000 });
    fc.assert(
      fc.property(zones, days, fc.double({ min: 0, max: 1, noNaN: true }), (tz, offset, share) => {
        const noonMs = Date.UTC(2018, 0, 1, 12) + offset * 86_400_000;
        const day = new Date(noonMs).toISOString().slice(0, 10);
        const next = new Date(noonMs + 86_400_000).toISOString().slice(0, 10);
        const [range, following] = asked({ window: [`${day}`, `${next}`], tz: tz }).ranges;
        const fromUs = range?.fromUs ?? 0;
        const toUs = range?.toUs ?? 0;
        const calendar = new DayCalendar(tz);
        const within = fromUs + Math.floor(share * (toUs - fromUs - 1));
        expect(calendar.dayOf(within)).toBe(day);
        expect(calendar.dayOf(fromUs - 1_000)).not.toBe(day);
        expect(following?.fromUs).toBe(toUs);
        expect((toUs - fromUs) / 3.6e9).toBeGreaterThanOrEqual(23);
        expect((toUs - fromUs) / 3.6e9).toBeLessThanOrEqual(25);
      }),
      { numRuns: repeated(15, 60) },
    );
  });

  it.each([
    [{ window: ['2026-02-30'] }, /--window: "2026-02-30"/],
    [{ window: ['20 November'] }, /"20 November" is no window/],
    [{ window: ['2011-12-30'], tz: 'Pacific/Apia' }, /"2011-12-30" does not exist in Pacific\/Apia/],
    [{ window: ['2026-11-20'], tz: 'Mars/Base' }, /--tz: "Mars\/Base" is not a time zone/],
    [{ window: ['2026-11-22..2026-11-21'] }, /ends before it begins/],
    [{ window: ['..'] }, /is no window/],
    [{ window: ['15m'] }, /"15m" is no window/],
    [{ window: ['2026-11-20T10:00..'], tz: 'Europe/Berlin' }, /--tz applies to days/],
    [{ window: ['peak=15m', 'worst=15m'] }, /one peak, one worst or the hardest/],
    [{ window: ['hardest', 'peak=15m'] }, /one peak, one worst or the hardest/],
    [{ window: ['peak=1500ms'] }, /whole number of seconds/],
    [{ window: ['peak=0s'] }, /--window peak/],
    [{ loop: '0' }, /--loop/],
    [{ duration: '-1s' }, /--duration/],
  ])('refuses %j', (raw, message) => {
    expect(() => asked(raw)).toThrow(message);
  });
});

describe('the stretch that is looked for', () => {
  const secondsOf = fc.uniqueArray(
    fc.record({
      second: fc.integer({ min: 100, max: 160 }),
      exchanges: fc.integer({ min: 1, max: 9 }),
      latencyCount: fc.integer({ min: 0, max: 3 }),
      latencySumUs: fc.integer({ min: 1, max: 50 }),
    }),
    { selector: ({ second }) => second, minLength: 1, maxLength: 40 },
  );
  const search = fc.record({
    kind: fc.constantFrom<SearchKind>('busiest', 'slowest'),
    lengthS: fc.integer({ min: 1, max: 70 }),
    minLatencies: fc.integer({ min: 1, max: 6 }),
    fromSecond: fc.integer({ min: 95, max: 130 }),
    toSecond: fc.integer({ min: 131, max: 170 }),
  });

  /** Every start there is, one after the other. */
  function bruteForce(seconds: readonly SecondSums[], asked: StretchSearch): [number, number] | null {
    const length = Math.min(asked.lengthS, asked.toSecond - asked.fromSecond);
    let best: [number, number] | null = null;
    for (let start = asked.fromSecond; start + length <= asked.toSecond; start += 1) {
      const inside = seconds.filter(({ second }) => second >= start && second < start + length);
      const sum = (of: (each: SecondSums) => number) => inside.reduce((total, each) => total + of(each), 0);
      const latencies = sum(({ latencyCount }) => latencyCount);
      if (asked.kind === 'slowest' && latencies < asked.minLatencies) continue;
      const busy = sum(({ exchanges }) => exchanges);
      const score = asked.kind === 'busiest' ? busy : sum(({ latencySumUs }) => latencySumUs) / latencies;
      if (busy > 0 && (best === null || score > best[1])) best = [start, score];
    }
    return best;
  }

  it('is the one that trying every second finds, the earliest of equals', () => {
    fc.assert(
      fc.property(secondsOf, search, (unsorted, request) => {
        const seconds = unsorted
          .map((each) => (each.latencyCount === 0 ? { ...each, latencySumUs: 0 } : each))
          .sort((a, b) => a.second - b.second);
        const found = findStretch(seconds, request);
        const expected = bruteForce(seconds, request);
        expect(found?.fromSecond ?? null).toBe(expected?.[0] ?? null);
        if (found === null || expected === null) return;
        const score = request.kind === 'busiest' ? found.exchanges : (found.meanLatencyMs ?? 0) * 1e3;
        expect(score).toBeCloseTo(expected[1], 9);
        expect(found.toSecond - found.fromSecond).toBe(
          Math.min(request.lengthS, request.toSecond - request.fromSecond),
        );
      }),
      { numRuns: repeated(125, 500) },
    );
  });

  const sums = (second: number, exchanges: number, latencyMs = 1): SecondSums => ({
    second,
    exchanges,
    latencyCount: exchanges,
    latencySumUs: exchanges * latencyMs * 1e3,
  });
  const day = overviewOf(10_500_000, 90_250_000, [
    sums(10, 5),
    sums(40, 30),
    sums(41, 30, 9),
    sums(90, 1, 500),
  ]);

  it('becomes the window, and holds no instant that was not asked for', () => {
    expect(chooseWindow(day, asked({ window: ['peak=2s'] }), 1)).toMatchObject({
      fromUs: 40_000_000,
      toUs: 42_000_000,
      found: { kind: 'busiest', exchanges: 60 },
    });
    const early = chooseWindow(
      day,
      asked({ window: [`${instant(40_000_001)}..${instant(41_900_000)}`, 'peak=1s'] }),
      1,
    );
    expect(early.fromUs).toBeGreaterThanOrEqual(40_000_001);
    expect(early.toUs).toBeLessThanOrEqual(41_900_000);
  });

  it('does not take one slow request at night for the worst hour', () => {
    expect(chooseWindow(day, asked({ window: ['worst=1s'] }), 1)).toMatchObject({
      fromUs: 41_000_000,
      toUs: 42_000_000,
    });
  });

  it('does not either where few of the requests have a latency', () => {
    const of = (at: number) => ({ ...sums(at, 30, at === 50 ? 9 : 1), exchanges: 1_000 });
    const few = Array.from({ length: 100 }, (_, at) => of(at));
    const night = sums(100, 1, 5_000);
    const mostlyUnknown = overviewOf(0, 101_000_000 - 1, [...few, night]);
    expect(chooseWindow(mostlyUnknown, asked({ window: ['worst=1s'] }), 1)).toMatchObject({
      fromUs: 50_000_000,
    });
  });

  it('is the best of several windows', () => {
    const pairs = [
      `${instant(10_000_000)}..${instant(20_000_000)}`,
      `${instant(39_000_000)}..${instant(60_000_000)}`,
    ];
    expect(chooseWindow(day, asked({ window: ['peak=1s', ...pairs] }), 1)).toMatchObject({
      fromUs: 40_000_000,
    });
  });

  it('is not there where no latency was recorded', () => {
    const silent = overviewOf(10_000_000, 20_000_000, [{ ...sums(10, 5), latencyCount: 0, latencySumUs: 0 }]);
    expect(() => chooseWindow(silent, asked({ window: ['worst=5s'] }), 1)).toThrow(/No latency was recorded/);
  });
});
