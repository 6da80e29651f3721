import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RepeatStatistics } from '../../../src/analysis/run/repeats.ts';
import { SeededRandom } from '../../../src/core/random.ts';
import type { Send } from '../../../src/core/run.ts';
import type { RepeatFigures } from '../../../src/documents/replay.ts';
import { repeated } from '../../support/long-form.ts';
import { failed, send } from '../../support/sends.ts';

const MS = 1e6;
const S = 1e9;

/** How long each request of a pass takes, milliseconds, by its place. */
type TimeMs = (at: number) => number;

function sent(exchangeId: number, intendedOffsetNs: number, ms: number, parts: Partial<Send> = {}): Send {
  return send({
    index: exchangeId,
    exchangeId,
    intendedOffsetNs,
    lastByteOffsetNs: intendedOffsetNs + Math.round(ms * MS),
    ...parts,
  });
}

/** Passes over so many requests, ten a second. */
function passesOf(requests: number, ...passes: readonly TimeMs[]): Send[] {
  return passes.flatMap((timeMs, pass) =>
    Array.from({ length: requests }, (_, at) => sent(at, (pass * requests + at) * 0.1 * S, timeMs(at))),
  );
}

function repeatsOf(sends: readonly Send[]): RepeatFigures | null {
  const statistics = new RepeatStatistics();
  for (const each of sends) statistics.add(each);
  return statistics.figures();
}

const uniform = (random: SeededRandom) => (random.below(1e9) + 0.5) / 1e9;
const exponential = (random: SeededRandom, mean: number) => -Math.log(uniform(random)) * mean;
/** Heavy-tailed: a tenth is over 3.6 times the median. */
const lognormal = (random: SeededRandom, median: number) =>
  median * Math.exp(Math.sqrt(-2 * Math.log(uniform(random))) * Math.cos(2 * Math.PI * uniform(random)));

/** Answers of one server that takes them in the order of arrival. */
function queued(arrivals: readonly { id: number; atMs: number; workMs: number }[]): Send[] {
  let freeMs = 0;
  return [...arrivals]
    .sort((a, b) => a.atMs - b.atMs)
    .map(({ id, atMs, workMs }) => {
      freeMs = Math.max(freeMs, atMs) + workMs;
      return sent(id, Math.round(atMs * MS), freeMs - atMs);
    });
}

describe('repeats of the same request', () => {
  it('are faster where a cache answers all of them, or some', () => {
    for (const cached of [1, 0.5, 0.3]) {
      const random = new SeededRandom(3);
      const times: TimeMs = () => lognormal(random, 200);
      const repeated: TimeMs = (at) => (uniform(random) < cached ? 2 : times(at));
      const figures = repeatsOf(passesOf(600, times, repeated, repeated));
      expect(figures).toMatchObject({ time: 'latency', pairs: 600, faster: true });
      expect(figures?.repeatMs).toBeLessThan((figures?.firstMs ?? 0) * 0.6);
    }
  });

  it('are faster where a cache answers them, among requests that are always quick', () => {
    const random = new SeededRandom(4);
    const parts = (at: number) => (at % 2 === 0 ? { route: 'GET /health' } : {});
    const pass = (number: number, workMs: TimeMs) =>
      Array.from({ length: 400 }, (_, at) =>
        sent(at, (number * 400 + at) * 0.1 * S, at % 2 === 0 ? 1 : workMs(at), parts(at)),
      );
    const work: TimeMs = () => lognormal(random, 100);
    expect(repeatsOf([...pass(0, work), ...pass(1, () => 2)])).toMatchObject({ faster: true });
    expect(repeatsOf([...pass(0, work), ...pass(1, work)])).toMatchObject({ faster: false });
  });

  it('are told of few pairs, where all of them say the same', () => {
    const varied: TimeMs = (at) => 200 + 10 * at;
    expect(repeatsOf(passesOf(6, varied, () => 3))).toMatchObject({ pairs: 6, faster: true });
    expect(repeatsOf(passesOf(4, varied, () => 3))).toMatchObject({ pairs: 4, faster: false });
  });

  it('are faster by their first token alone where a prefix is cached', () => {
    const streamed = (pass: number, ttftMs: number) =>
      Array.from({ length: 100 }, (_, at) => {
        const intendedOffsetNs = (pass * 100 + at) * 0.1 * S;
        const answer = {
          firstTokenOffsetNs: intendedOffsetNs + ttftMs * MS,
          lastTokenOffsetNs: null,
          contentEvents: 2,
          gapMaxNs: null,
          gaps: null,
          promptTokens: null,
          outputTokens: null,
          finish: null,
        };
        return sent(at, intendedOffsetNs, 2_000 + ttftMs + (at % 7), { answer, streamed: true });
      });
    expect(repeatsOf([...streamed(0, 150), ...streamed(1, 20)])).toMatchObject({
      time: 'ttft',
      pairs: 100,
      faster: true,
      firstMs: expect.closeTo(150, 6),
      repeatMs: expect.closeTo(20, 6),
    });
  });

  it('are not faster by chance', () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.constantFrom(5, 20, 100, 1_000), (seed, requests) => {
        const random = new SeededRandom(seed);
        const times: TimeMs = () => lognormal(random, 100);
        const figures = repeatsOf(passesOf(requests, times, times));
        expect(figures).toMatchObject({ pairs: requests, faster: false });
      }),
      { numRuns: repeated(100, 400), seed: 5 },
    );
  });

  it('are not faster for a target that was cold at first, or had one slow moment', () => {
    const random = new SeededRandom(9);
    const times: TimeMs = () => lognormal(random, 50);
    const cold: TimeMs = (at) => times(at) * (at < 50 ? 4 : 1);
    expect(repeatsOf(passesOf(600, cold, times))).toMatchObject({ faster: false });
    const stalled: TimeMs = (at) => times(at) + (at >= 300 && at < 320 ? 20_000 : 0);
    expect(repeatsOf(passesOf(600, stalled, times))).toMatchObject({ faster: false });
  });

  it('are not faster for copies that come apart where the recorded requests came together', () => {
    // Ten at one instant wait for each other; their copies, spread over a second, hardly do.
    for (let seed = 0; seed < 20; seed += 1) {
      const random = new SeededRandom(seed);
      const arrivals = Array.from({ length: 600 }, (_, id) => {
        const atMs = Math.floor(id / 10) * 1_000;
        const workMs = 10 + exponential(random, 15);
        return [
          { id, atMs, workMs },
          { id, atMs: atMs + 1_000 * uniform(random), workMs },
        ];
      });
      const figures = repeatsOf(queued(arrivals.flat()));
      expect(figures?.repeatMs).toBeLessThan(figures?.firstMs ?? 0);
      expect(figures).toMatchObject({ pairs: 600, faster: false });
    }
  });

  it('are no repeats where production sent them: two exchanges are not one', () => {
    const recorded = Array.from({ length: 200 }, (_, at) => sent(at, at * 0.1 * S, at < 100 ? 200 : 2));
    expect(repeatsOf(recorded)).toBeNull();
  });

  it('are held against the first by plan, in whatever order they end, and not where one was not served', () => {
    const [first, second, third] = [sent(1, 0, 300), sent(1, 1 * S, 30), sent(1, 2 * S, 3)];
    expect(repeatsOf([second, first, third])).toMatchObject({
      pairs: 1,
      firstMs: expect.closeTo(300, 6),
      repeatMs: expect.closeTo(30, 6),
    });
    const refused = { status: 429 };
    expect(repeatsOf([sent(1, 0, 300, refused), second])).toBeNull();
    expect(repeatsOf([failed(1, { exchangeId: 1 }), second])).toBeNull();
  });

  it('under a millisecond are as fast', () => {
    expect(
      repeatsOf(
        passesOf(
          600,
          () => 1.2,
          () => 0.3,
        ),
      ),
    ).toMatchObject({ faster: false });
  });
});
