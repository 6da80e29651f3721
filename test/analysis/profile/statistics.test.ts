import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Concurrency, RateSeries } from '../../../src/analysis/profile/over-time.ts';
import { Parties, Retries } from '../../../src/analysis/profile/statistics.ts';
import { profileText } from '../../../src/analysis/profile/view.ts';
import { SeededRandom } from '../../../src/core/random.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { testHash } from '../../support/exchanges.ts';
import { arrivingAt, profileOf } from '../../support/profiles.ts';

describe('concurrency', () => {
  test('is what a count at every instant gives', () => {
    const requests = fc.array(fc.tuple(fc.nat({ max: 200 }), fc.nat({ max: 90 })), {
      minLength: 2,
      maxLength: 40,
    });
    fc.assert(
      fc.property(requests, (pairs) => {
        const ordered = pairs.toSorted((a, b) => a[0] - b[0]);
        const concurrency = new Concurrency();
        for (const [at, length] of ordered) concurrency.add(at, at + length);
        concurrency.endWindow();
        const { mean, max } = concurrency.figures();
        const [first, last] = [ordered[0]![0], ordered.at(-1)![0]];
        let busy = 0;
        for (let instant = first; instant < last; instant += 1) {
          busy += ordered.filter(([at, length]) => at <= instant && instant < at + length).length;
        }
        if (last > first) expect(mean).toBeCloseTo(busy / (last - first), 9);
        else expect(mean).toBeNull();
        const most = ordered.map(
          ([at], index) =>
            ordered.slice(0, index + 1).filter(([from, length], each) => each === index || from + length > at)
              .length,
        );
        expect(max).toBe(Math.max(...most));
      }),
    );
  });

  test('of exchanges whose end nobody saw is not known', () => {
    const concurrency = new Concurrency();
    expect(concurrency.add(1, null)).toBeNull();
    concurrency.endWindow();
    expect(concurrency.figures()).toMatchObject({ mean: null, max: null, known: 0 });
  });
});

describe('sessions and clients', () => {
  test('are counted exactly, with the shares of the busiest', () => {
    const parties = new Parties();
    for (let index = 0; index < 100; index += 1) {
      parties.add(testHash.ofIdentity('client', index < 60 ? 'busy' : `client ${index}`), index * 1e6);
    }
    const figures = parties.figures();
    expect(figures).toMatchObject({
      count: 41,
      exact: true,
      requests: 100,
      topShares: { top1: 0.6, top10: 0.69 },
    });
    expect(figures.spanS).toMatchObject({ count: 1, max: 59 });
    expect(figures.top[0]?.id).toBe(Buffer.from(testHash.ofIdentity('client', 'busy')).toString('hex'));
  });

  test('over the bound are estimated, and the busiest are still found', () => {
    const parties = new Parties();
    const random = new SeededRandom(3);
    const id = Buffer.alloc(8);
    for (let index = 0; index < 200_000; index += 1) {
      id.writeUInt32LE(index % 3 === 0 ? 7 : random.nextUint32(), 0);
      id.writeUInt32LE(index % 3 === 0 ? 7 : random.nextUint32(), 4);
      parties.add(id, index);
    }
    const figures = parties.figures();
    expect(figures.exact).toBe(false);
    expect(Math.abs(figures.count / 133_334 - 1)).toBeLessThan(0.02);
    expect(figures.topShares.top1).toBeGreaterThan(0.33);
    const [busiest] = figures.top;
    expect(busiest?.requests).toBeLessThanOrEqual(66_667);
    expect((busiest?.requests ?? 0) + figures.undercount).toBeGreaterThanOrEqual(66_667);
  });

  test('over the bound do not say what each of them sent, where the most of it was forgotten', () => {
    const parties = new Parties();
    const id = Buffer.alloc(8);
    for (let index = 0; index < 2 * 66_000; index += 1) {
      id.writeUInt32LE(Math.imul(index % 66_000, 0x9e3779b1) >>> 0, 0);
      id.writeUInt32LE(Math.imul(index % 66_000, 0x85ebca6b) >>> 0, 4);
      parties.add(id, index * 1e3);
    }
    const { requestsEach, spanS, top, undercount } = parties.figures();
    expect(requestsEach).toMatchObject({ count: 0, mean: null, p50: null, max: null });
    expect(spanS).toMatchObject({ count: 0, mean: null, max: null });
    for (const { requests } of top) {
      expect(requests).toBeLessThanOrEqual(2);
      expect(requests + undercount).toBeGreaterThanOrEqual(2);
    }
  });
});

describe('retries', () => {
  const body = testHash.ofBody(Buffer.from('a'));

  test('follow the failure of the same request within a minute, and one failure has one', () => {
    const retries = new Retries();
    retries.add('POST /a', body, 0, 5e6);
    retries.add('POST /a', body, 4e6, null);
    retries.add('POST /b', body, 6e6, null);
    retries.add('POST /a', body, 7e6, null);
    retries.add('POST /a', body, 8e6, null);
    expect(retries.figures()).toEqual({ likely: 1, windowS: 60, watched: 1 });
  });

  test('that come later are requests like any other', () => {
    const retries = new Retries();
    retries.add('POST /a', body, 0, 5e6);
    retries.add('POST /a', body, 66e6, null);
    expect(retries.figures().likely).toBe(0);
  });
});

describe('the series', () => {
  const entry = { failed: false, latencyUs: null, inFlight: null };

  test('has a second a step while it is short, and no time between windows', () => {
    const series = new RateSeries([
      { fromUs: 10e6, toUs: 12e6 + 1 },
      { fromUs: 100e6, toUs: 100e6 + 1 },
    ]);
    for (const arrivalUs of [10e6, 10.5e6, 12e6, 100e6]) series.add({ arrivalUs, ...entry });
    expect(series.columns()).toMatchObject({
      stepS: 1,
      at: [10, 11, 12, 100],
      requests: [2, 0, 1, 1],
      peak1s: [2, 0, 1, 1],
    });
  });

  test('has wider steps where there would be many, and their sums and peaks', () => {
    const seconds = 20_000;
    const series = new RateSeries([{ fromUs: 0, toUs: seconds * 1e6 }]);
    for (let second = 0; second < seconds; second += 1) {
      series.add({
        arrivalUs: second * 1e6,
        failed: second % 10 === 0,
        latencyUs: 2_000,
        inFlight: second === 77 ? 9 : 1,
      });
      if (second === 7_777) series.add({ arrivalUs: second * 1e6, ...entry });
    }
    const columns = series.columns();
    expect(columns.stepS).toBe(5);
    expect(columns.at).toHaveLength(4_000);
    expect(columns.requests.reduce((sum, count) => sum + count, 0)).toBe(seconds + 1);
    expect(columns.failed.reduce((sum, count) => sum + count, 0)).toBe(2_000);
    expect(Math.max(...columns.peak1s)).toBe(2);
    expect(columns.inFlight[15]).toBe(9);
    expect(columns.meanLatencyMs[0]).toBe(2);
  });
});

describe('mix, sizes and latency', () => {
  const rows = [
    ...arrivingAt([1e15, 1e15 + 1e6], { route: 'POST /a', lastByteOffsetUs: 10_000, requestBytes: 100 }),
    exchangeRow({
      arrivalUs: 1e15 + 2e6,
      route: 'POST /a',
      status: 503,
      lastByteOffsetUs: 10,
      requestBytes: 100,
    }),
    exchangeRow({
      arrivalUs: 1e15 + 3e6,
      route: 'POST /b',
      outcome: 'client_aborted',
      status: null,
      requestBytes: 5_000,
    }),
    exchangeRow({
      arrivalUs: 1e15 + 4e6,
      route: 'POST /b',
      status: 429,
      lastByteOffsetUs: 40_000,
      requestBytes: 5_000,
    }),
  ];
  const profile = profileOf(rows);

  test('are by route and by size of the input, without what failed in latencies', () => {
    expect(profile.mix.routes).toMatchObject([
      { route: 'POST /a', requests: 3, share: 0.6, failed: 1, latencyMs: { count: 2, max: 10 } },
      { route: 'POST /b', requests: 2, failed: 0, latencyMs: { count: 1, max: 40 } },
    ]);
    expect(profile.latencyByInputSize).toMatchObject([
      { fromBytes: 64, toBytes: 127, requests: 3 },
      { fromBytes: 4_096, toBytes: 8_191, requests: 2, latencyMs: { p99: 40 } },
    ]);
    expect(profile.latencyMs).toMatchObject({ count: 3, max: 40 });
  });

  test('say what went wrong', () => {
    expect(profile.errors).toMatchObject({
      failed: 1,
      failedShare: 0.25,
      serverErrors: 1,
      clientErrors: 1,
      tooManyRequests: 1,
      clientAborted: 1,
    });
    expect(profile.mix.statuses).toContainEqual({ status: null, requests: 1, share: 0.2 });
  });

  test('of a thousand routes list a hundred, and say how much is elsewhere', () => {
    const many = profileOf(
      Array.from({ length: 1_000 }, (_, at) => exchangeRow({ arrivalUs: 1e15 + at, route: `GET /${at}` })),
    );
    expect(many.mix.routes).toHaveLength(100);
    expect(many.notes).toContain('900 requests went to further routes, which are not listed');
  });

  test('lose no method among made-up ones, and say how much went by further ones', () => {
    const { mix, notes } = profileOf(
      Array.from({ length: 200 }, (_, at) =>
        exchangeRow({ arrivalUs: 1e15 + at, method: at < 100 ? `M${at}` : 'POST', protocol: `p/${at}` }),
      ),
    );
    expect(mix.methods[0]).toEqual({ method: 'POST', requests: 100, share: 0.5 });
    const unlisted = 200 - mix.methods.reduce((sum, { requests }) => sum + requests, 0);
    expect(unlisted).toBe(36);
    expect(notes).toContain('36 requests used further methods, which are not listed');
    expect(notes).toContain('136 requests used further protocols, which are not listed');
  });
});

describe('what nobody recorded', () => {
  const unanswered = {
    status: null,
    streamed: null,
    firstByteOffsetUs: null,
    lastByteOffsetUs: null,
    responseBytes: null,
  };

  test('of imported requests without answers is null, and not 0', () => {
    const profile = profileOf(
      arrivingAt([1e15, 1e15 + 1, 1e15 + 2], {
        ...unanswered,
        requestBytes: 100,
        requestHash: testHash.ofBody(Buffer.from('a')),
      }),
    );
    expect(profile.mix.routes[0]).toMatchObject({
      failed: null,
      meanRequestBytes: 100,
      meanResponseBytes: null,
    });
    expect(profile.mix).toMatchObject({ streamed: null, outcomes: { completed: null, timed_out: null } });
    expect(profile.latencyByInputSize[0]).toMatchObject({ failed: null, meanResponseBytes: null });
    for (const value of Object.values(profile.errors)) expect(value).toBeNull();
    expect(profile.retries).toMatchObject({ likely: null, watched: 0, share: null });
    expect(profile.series.failed).toEqual([null]);
    const text = profileText(profile).join('\n');
    expect(text).toContain('how requests ended is not known');
    expect(text).not.toMatch(/(?:5xx|client aborted|retries.*) +0\b/);
  });

  test('of an arrival that is known alone is null, its size as well', () => {
    const profile = profileOf(
      arrivingAt([1e15, 1e15 + 1], { ...unanswered, protocol: null, method: null, requestBytes: null }),
    );
    expect(profile.mix.routes[0]).toMatchObject({ meanRequestBytes: null, meanResponseBytes: null });
    expect(profile.retries).toMatchObject({ likely: null, share: null });
  });

  test('is no part of means and shares of what was recorded', () => {
    const { mix, errors, latencyByInputSize } = profileOf([
      exchangeRow({ arrivalUs: 1e15, status: 503, requestBytes: 100, responseBytes: 30 }),
      exchangeRow({ arrivalUs: 1e15 + 1, requestBytes: null, responseBytes: 50 }),
      exchangeRow({ arrivalUs: 1e15 + 2, ...unanswered, requestBytes: 300 }),
    ]);
    expect(mix.routes[0]).toMatchObject({ failed: 1, meanRequestBytes: 200, meanResponseBytes: 40 });
    expect(errors).toMatchObject({ failed: 1, failedShare: 0.5 });
    expect(latencyByInputSize.map(({ fromBytes, requests }) => [fromBytes, requests])).toEqual([
      [64, 1],
      [256, 1],
    ]);
  });

  test('keeps an empty body at 0 bytes', () => {
    const { mix } = profileOf([exchangeRow({ requestBytes: 0, responseBytes: 0 })]);
    expect(mix.routes[0]).toMatchObject({ failed: 0, meanRequestBytes: 0, meanResponseBytes: 0 });
  });
});
